// The right operand of a time loop: weights packed once per call, multiplied by a few rows at every
// step.
#pragma once

#include "core/parallel.hpp"
#include "gemm/pack.hpp"
#include "gemm/tile.hpp"

namespace rnncore {

// Forward (Gates = G): R (G*H, H) by its rows, h R^T, the gates of a block of units side by side.
// Backward (Gates = 1): R by its columns, dz R. A panel is one packet's width of hidden units.
template <class T, int Gates, bool by_columns>
class PackedWeights {
 public:
  // `columns`: those of the left operand that meet the weights.
  PackedWeights(Matrix<const T> weights, const Columns& columns)
      : weights_(weights),
        columns_(columns),
        panels_(panel_count<T>(by_columns ? weights.cols : weights.rows / Gates)),
        panel_size_(checked_mul(columns.total(), Gates * Simd<T>::width)) {}

  // Calls array(pointer, elements) for each array that this needs of the arena.
  template <class F>
  void plan(F&& array) {
    array(packed_, checked_mul(panels_, panel_size_));
  }

  Index panels() const { return panels_; }

  void pack(Range panels) {
    for (Index b = panels.begin; b < panels.end; ++b) {
      if constexpr (by_columns) {
        pack_columns(weights_, b, packed_ + b * panel_size_);
      } else {
        pack_gates<T, Gates>(weights_, b, packed_ + b * panel_size_);
      }
    }
  }

  // Calls f(first_row, rows, first_panel, panels, sums) for every tile of `rows` x `panels`; a
  // row's elements start `stride` apart.
  template <class F>
  void multiply(const T* a, Index stride, Index rows, Range panels, F&& f) const {
    for_tiles<T, Gates>(a, stride, columns_, packed_ + panels.begin * panel_size_, rows,
                        panels.size(),
                        [&](Index first, Index count, Index panel, int wide, const T* sums) {
                          f(first, count, panels.begin + panel, wide, sums);
                        });
  }

 private:
  const Matrix<const T> weights_;
  const Columns columns_;
  const Index panels_, panel_size_;
  T* packed_ = nullptr;
};

}  // namespace rnncore
