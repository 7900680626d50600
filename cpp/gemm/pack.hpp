// Packing of weights and other right operands into the panels that the microkernel reads.
#pragma once

#include "core/simd.hpp"
#include "core/types.hpp"

namespace rnncore {

// Panels of one packet's width that cover `units` hidden units.
template <class T>
constexpr Index panel_count(Index units) {
  return ceil_div(units, Simd<T>::width);
}

// to[c * to_stride + r] = from[r * from_stride + c], by squares of packets where they fit.
template <class T>
void transpose(const T* from, Index from_stride, Index rows, Index cols, T* to, Index to_stride);

// Panel `panel` of R (gates*H, depth): to[k][g][lane] = R[g*H + panel*width + lane][k]; the gates
// of a block of units side by side, absent units zero.
template <class T>
void pack_gates(Matrix<const T> weights, Index gates, Index panel, T* to);

// Panels [begin, end) of the columns of R, `size` elements each: to[b][k][lane] = R[k][b*width +
// lane], for dz R; absent units zero. A few panels at a time: a row is then read by whole lines.
template <class T>
void pack_columns(Matrix<const T> weights, Index begin, Index end, T* to, Index size);

}  // namespace rnncore
