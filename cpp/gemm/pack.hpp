// Packing of weights and other right operands into the panels that the register tile reads.
#pragma once

#include <algorithm>

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
void transpose(const T* from, Index from_stride, Index rows, Index cols, T* to, Index to_stride) {
  constexpr int width = Simd<T>::width;
  const Index square_rows = rows / width * width, square_cols = cols / width * width;
  for (Index r = 0; r < square_rows; r += width) {
    for (Index c = 0; c < square_cols; c += width) {
      Eigen::internal::PacketBlock<typename Simd<T>::Packet, width> square;
      for (int i = 0; i < width; ++i) {
        square.packet[i] = Simd<T>::load(from + (r + i) * from_stride + c).v;
      }
      Eigen::internal::ptranspose(square);
      for (int i = 0; i < width; ++i) {
        Simd<T>{square.packet[i]}.store(to + (c + i) * to_stride + r);
      }
    }
  }
  for (Index r = 0; r < rows; ++r) {
    for (Index c = r < square_rows ? square_cols : 0; c < cols; ++c) {
      to[c * to_stride + r] = from[r * from_stride + c];
    }
  }
}

// Panel b of R (Gates*H, depth): to[k][g][lane] = R[g*H + b*width + lane][k]; the gates of a block
// of units side by side, absent units zero.
template <class T, int Gates>
void pack_gates(Matrix<const T> weights, Index block, T* to) {
  constexpr int width = Simd<T>::width;
  const Index units = weights.rows / Gates, depth = weights.cols;
  const Index first = block * width, count = std::min<Index>(width, units - first);
  for (int g = 0; g < Gates; ++g, to += width) {
    transpose(weights.row(g * units + first), weights.stride, count, depth, to, Gates * width);
    for (Index k = 0; count < width && k < depth; ++k) {
      std::fill(to + k * Gates * width + count, to + k * Gates * width + width, T(0));
    }
  }
}

// Panels [begin, end) of the columns of R, `size` elements each: to[b][k][lane] = R[k][b*width +
// lane], for dz R; absent units zero. A few panels at a time: a row is then read by whole lines.
template <class T>
void pack_columns(Matrix<const T> weights, Index begin, Index end, T* to, Index size) {
  constexpr int width = Simd<T>::width;
  constexpr Index together = 8;
  for (Index group = begin; group < end; group += together) {
    const Index last = std::min(end, group + together);
    for (Index k = 0; k < weights.rows; ++k) {
      for (Index b = group; b < last; ++b) {
        const Partial<T> lanes{std::min<Index>(width, weights.cols - b * width)};
        lanes.load(weights.row(k) + b * width).store(to + b * size + k * width);
      }
    }
  }
}

}  // namespace rnncore
