// One layer in one direction: the arguments of its two passes, every array once, with its shape.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "cells/table.hpp"
#include "core/types.hpp"
#include "gemm/precision.hpp"
#include "recurrence/plan/schedule.hpp"

namespace rnncore {

// Parameters of a layer, or their gradients; what is empty or null is not there.
template <class T>
struct LayerWeights {
  Matrix<T> weight_ih;                       // W (G*H, I)
  Matrix<T> weight_hh;                       // R (G*H, H)
  Matrix<T> weight_oh;                       // U (G*H, F)
  T *bias_ih = nullptr, *bias_hh = nullptr;  // (G*H,)
  UnitParameters<Matrix<T>> unit{};          // (rows, H) each
};

// Zoneout (Krueger et al. 2017): in training a unit keeps its old state with that state's
// probability; in prediction it gets the expectation of that.
struct Zoneout {
  States<double> rates{};
  bool drawn = false;         // as in training, by masks that follow from the next two, from the
  std::uint64_t seed = 0;     // state, the time and the sequence
  std::uint32_t purpose = 0;  // state k has purpose + k

  explicit operator bool() const {
    return std::any_of(rates.begin(), rates.end(), [](double rate) { return rate > 0; });
  }
};

// rate * old + (1 - rate) * anew
template <class T>
T expected_state(T rate, T old, T anew) {
  return anew + rate * (old - anew);
}

// What both passes read.
template <class T>
struct LayerArgs {
  const CellInfo* cell = nullptr;
  std::optional<CellChoice> choice;  // none: the cell's usual functions
  Sizes sizes;
  Sequence<const T> x;  // (T, B, I)
  LayerWeights<const T> weights;
  Sequence<const T> fed;           // (T, B, F): values that U meets, all known before; or empty
  Matrix<const T> recurrent_mask;  // (B, H): times h of the step before, where it meets R; or empty
  Zoneout zoneout;
  std::span<const Piece> pieces;                     // of the sequences; none: all T steps of each
  bool reverse = false;                              // each sequence from its own end
  Precision precision = float32_matmul_precision();  // of the whole call
  Index recompute = 0;  // 0: the tape holds every step; k: states k steps apart (Segments)
  // A row's bits do not depend on the other rows, nor on how a sequence is cut into calls.
  bool batch_invariant = false;

  // Elements of a row of h, [h | f]: values fed back that are not given as `fed` lie behind h.
  Index h_stride() const { return sizes.hidden + (fed ? 0 : sizes.fed); }
  // Of a row of state k.
  Index state_stride(std::size_t k) const { return k == 0 ? h_stride() : sizes.hidden; }
  States<Index> state_strides() const {
    States<Index> strides{};
    for (std::size_t k = 0; k < cell->states.size(); ++k) strides[k] = state_stride(k);
    return strides;
  }
  Index gates_per_row() const { return cell->slots * sizes.hidden; }
  // About the multiply-adds of one row in a time step.
  Index step_work() const { return gates_per_row() * (sizes.hidden + 16); }
  const CellKernels<T>& kernels() const { return cell->kernels<T>(choice.has_value()); }
  const CellChoice* chosen() const { return choice ? &*choice : nullptr; }
};

// What backward needs of forward, of the rows of the schedule: R rows with N valid steps together.
template <class T, class State = T>
struct Tape {
  T* gates = nullptr;  // (N, S*H): activated gates, or what chosen functions keep of them; null
                       // with `recompute`
  // (N + R, state_stride(k)): Schedule::state_offset. With `recompute` the states before each
  // segment, of its rows alone: Segments::state_offset.
  States<State*> states{};
};

class WeightCache;

template <class T>
struct ForwardArgs : LayerArgs<T> {
  States<Matrix<const T>> state_0{};  // (B, H) each
  Sequence<T> y;                      // (T, B, H), zero beyond a sequence's end
  States<Matrix<T>> state_n{};        // (B, H)
  Tape<T> tape;                       // all null for inference
  WeightCache* cache = nullptr;       // of packed weights, or null; for inference
};

template <class T>
struct BackwardArgs : LayerArgs<T> {
  Tape<T, const T> tape;               // its gates are left as the gradients dz
  Sequence<const T> dy;                // (T, B, H), or empty: zeros
  States<Matrix<const T>> dstate_n{};  // (B, H), or empty: zeros
  Sequence<T> dx;                      // (T, B, I) =, or empty: not wanted
  Sequence<T> dfed;              // (first steps, B, F) =, or empty; all T of them with `reverse`
  States<Matrix<T>> dstate_0{};  // (B, H) =
  LayerWeights<T> gradients;     // +=, or empty as the weights
};

template <class T>
void forward(const ForwardArgs<T>& args);

// The segments of a tape with `recompute`: of each the rows whose states it keeps.
template <class T>
std::vector<Index> segments(const LayerArgs<T>& args);

// Adds to the parameter gradients, assigns the others, and leaves dz in the tape's gates.
template <class T>
void backward(const BackwardArgs<T>& args);

}  // namespace rnncore
