// The arguments of the two passes over one layer in one direction: every array once, with its
// shape.
#pragma once

#include "core/types.hpp"
#include "gemm/precision.hpp"

namespace rnncore {

// T steps, B sequences, I features in, H units; F numbers that outputs feed back into a step.
struct Sizes {
  Index steps = 0, batch = 0, input = 0, hidden = 0, fed = 0;
};

// One layer in one direction and its input: what both passes read.
template <class T>
struct LayerArgs {
  Sizes sizes;
  Sequence<const T> x;                               // (T, B, I)
  Matrix<const T> weight_ih;                         // W (G*H, I)
  Matrix<const T> weight_hh;                         // R (G*H, H), or empty
  Matrix<const T> weight_oh;                         // U (G*H, F), or empty
  Sequence<const T> fed;                             // (T, B, F): what U meets, or empty
  const T *bias_ih = nullptr, *bias_hh = nullptr;    // (G*H,) or null
  const Index* lengths = nullptr;                    // (B,) or null: all T
  bool reverse = false;                              // each sequence from its own end
  Precision precision = float32_matmul_precision();  // of the whole call
  bool batch_invariant = false;  // a row's bits do not depend on the number of rows: ProductSize
  Index recompute = 0;           // 0: the tape holds every step; k: states k steps apart (Segments)

  // Elements of a row of states. What is not given as `fed` lies behind h: [h | fed].
  Index state() const { return sizes.hidden + (fed ? 0 : sizes.fed); }
};

// What backward needs of forward. N = all valid steps of all sequences, L = the longest length, S =
// slots of the cell, K = LayerArgs::state(). Rows are sorted by length, longest first.
template <class T>
struct Tape {
  T* gates = nullptr;  // (N, S*H): activated gates; empty with `recompute`
  T* h = nullptr;      // (L+1, B, K): slot 0 is the initial state; finished rows carry their h.
                       // With `recompute` (segments, B, H): the states before each segment
  T* c = nullptr;      // (L+1, B, H) likewise, or empty
};

class WeightCache;

template <class T>
struct ForwardArgs : LayerArgs<T> {
  Matrix<const T> h_0, c_0;      // (B, H); c_0 empty where the cell has no c
  Sequence<T> y;                 // (T, B, H), zero beyond a sequence's end
  Matrix<T> h_n, c_n;            // (B, H)
  Tape<T> tape;                  // all empty for inference
  WeightCache* cache = nullptr;  // of packed weights, or null; for inference
};

template <class T>
struct BackwardArgs : LayerArgs<T> {
  T* gates = nullptr;                  // the tape's; left as the gradients dz
  const T *h = nullptr, *c = nullptr;  // the tape's
  Sequence<const T> dy;                // (T, B, H), or empty: zeros
  Matrix<const T> dh_n, dc_n;          // (B, H), or empty: zeros
  Sequence<T> dx;                      // (T, B, I) =, or empty: not wanted
  Sequence<T> dfed;      // (first steps, B, F) =, or empty; all T of them with `reverse`
  Matrix<T> dh_0, dc_0;  // (B, H) =
  Matrix<T> dweight_ih;  // +=
  Matrix<T> dweight_hh, dweight_oh;            // +=, or empty as the weights
  T *dbias_ih = nullptr, *dbias_hh = nullptr;  // +=, or null
};

}  // namespace rnncore
