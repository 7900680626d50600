// Weights and how a time loop reads them.
#pragma once

#include "gemm/columns.hpp"
#include "gemm/pack.hpp"

namespace rnncore {

// Forward: R (G*H, H) by its rows, h R^T, the gates of a block of units side by side. Backward: R
// by its columns, dz R. A panel is one packet's width of units.
template <class T>
struct WeightLayout {
  Matrix<const T> weights;
  Columns columns;  // those of the left operand that meet the weights
  Index gates = 1;
  bool by_columns = false;

  static WeightLayout by_rows_of(Matrix<const T> weights, Index gates = 1) {
    return {weights, {{0, 0}, {weights.cols, 0}}, gates, false};
  }
  static WeightLayout by_columns_of(Matrix<const T> weights, const Columns& columns) {
    return {weights, columns, 1, true};
  }

  Index units() const { return by_columns ? weights.cols : weights.rows / gates; }
  Index panels() const { return panel_count<T>(units()); }
  // The row of weights where a gate's units begin.
  Index first_row(Index gate) const { return gate * units(); }
};

}  // namespace rnncore
