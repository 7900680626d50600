// A cell's unit parameters as its kernels read them.
#pragma once

#include "cells/table.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"

namespace rnncore {

// Some panels of the rows of all unit parameters: to[panel][row][lane], absent units zero.
template <class T>
void pack_unit_parameters(const UnitParameters<Matrix<const T>>& parameters, Range panels,
                          Index hidden, Index rows, T* to) {
  constexpr Index width = Simd<T>::width;
  if (rows == 0) return;
  to += panels.begin * rows * width;
  for (Index b = panels.begin; b < panels.end; ++b) {
    const Partial<T> lanes{std::min(width, hidden - b * width)};
    for (const Matrix<const T>& parameter : parameters) {
      for (Index row = 0; row < parameter.rows; ++row, to += width) {
        lanes.load(parameter.row(row) + b * width).store(to);
      }
    }
  }
}

}  // namespace rnncore
