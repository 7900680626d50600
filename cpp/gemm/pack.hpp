// Packing of the recurrent weights into the panels that the register tile reads.
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

// Elements of all panels of `gates` packets per k.
template <class T>
Index packed_size(Index units, Index gates, Index depth) {
  return checked_mul(checked_mul(panel_count<T>(units), gates * Simd<T>::width), depth);
}

// Panel b of R (Gates*H, depth): to[k][g][lane] = R[g*H + b*width + lane][k]; the gates of a block
// of units side by side, absent units zero.
template <class T, int Gates>
void pack_gates(Matrix<const T> weights, Index block, T* to) {
  constexpr int width = Simd<T>::width;
  const Index units = weights.rows / Gates, depth = weights.cols;
  const Index first = block * width, count = std::min<Index>(width, units - first);
  for (int g = 0; g < Gates; ++g) {
    const T* from = weights.row(g * units + first);
    Index k = 0;
    if (count == width) {
      for (; k + width <= depth; k += width) {
        Eigen::internal::PacketBlock<typename Simd<T>::Packet, width> square;
        for (int i = 0; i < width; ++i) {
          square.packet[i] = Simd<T>::load(from + i * weights.stride + k).v;
        }
        Eigen::internal::ptranspose(square);
        for (int i = 0; i < width; ++i) {
          Simd<T>{square.packet[i]}.store(to + ((k + i) * Gates + g) * width);
        }
      }
    }
    for (; k < depth; ++k) {
      T* out = to + (k * Gates + g) * width;
      for (Index i = 0; i < width; ++i) out[i] = i < count ? from[i * weights.stride + k] : T(0);
    }
  }
}

// Panel b of R's columns: to[k][lane] = R[k][b*width + lane], for dz R; absent units zero.
template <class T>
void pack_columns(Matrix<const T> weights, Index block, T* to) {
  constexpr int width = Simd<T>::width;
  const Index first = block * width, count = std::min<Index>(width, weights.cols - first);
  for (Index k = 0; k < weights.rows; ++k, to += width) {
    const T* from = weights.row(k) + first;
    (count == width ? Simd<T>::load(from) : Simd<T>::load_partial(from, count)).store(to);
  }
}

}  // namespace rnncore
