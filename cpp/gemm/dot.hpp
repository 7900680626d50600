// Few rows times weights as they are stored: dot products along the rows of both, so that nothing
// is packed and every weight is read once.
#pragma once

#include <algorithm>

#include "core/simd.hpp"

namespace rnncore {

// Whether `rows` rows are too few to repay the packing of weights `depth` deep (measured on a
// Zen 4: a tie at 10 rows of 128, 15 of 256; from 1024 on packed weights are the faster to read).
constexpr bool few_rows(Index rows, Index depth) {
  return rows <= 4 || (rows <= 8 && rows * 16 <= depth);
}

// One packet whose lane i is the sum of the lanes of rows.packet[i].
template <class T>
Simd<T> sum_each(Eigen::internal::PacketBlock<typename Simd<T>::Packet, Simd<T>::width>& rows) {
  Eigen::internal::ptranspose(rows);
  for (int half = Simd<T>::width / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      rows.packet[i] = Eigen::internal::padd(rows.packet[i], rows.packet[i + half]);
    }
  }
  return {rows.packet[0]};
}

// Rows of x and the rows of weights that they meet, both `depth` long.
template <class T>
struct DotOperands {
  const T* x = nullptr;
  Index x_stride = 0;
  const T* weights = nullptr;
  Index stride = 0, depth = 0;

  DotOperands advanced(Index rows) const {
    return {x + rows * x_stride, x_stride, weights, stride, depth};
  }
};

// acc[r][i] += packets of x[r] * weights[first + i] for Rows rows of x and Group of weights, the
// last of which is row `lanes` - 1.
template <class T, int Rows, int Group>
EIGEN_ALWAYS_INLINE void dot_accumulate(const DotOperands<T>& o, int first, Index lanes,
                                        Simd<T> (&acc)[Rows][Group]) {
  using V = Simd<T>;
  const T* w[Group];
  w[0] = o.weights + std::min<Index>(first, lanes - 1) * o.stride;
#pragma GCC unroll 16
  for (int i = 1; i < Group; ++i) w[i] = w[i - 1] + (first + i < lanes ? o.stride : 0);
  const Index whole = o.depth / V::width * V::width, rest = o.depth - whole;
  for (Index k = 0; k < whole; k += V::width) {
    V value[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) value[r] = V::load(o.x + r * o.x_stride + k);
#pragma GCC unroll 16
    for (int i = 0; i < Group; ++i) {
      const V weight = V::load(w[i] + k);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) acc[r][i] = madd(value[r], weight, acc[r][i]);
    }
  }
  if (rest > 0) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const V value = V::load_partial(o.x + r * o.x_stride + whole, rest);
#pragma GCC unroll 16
      for (int i = 0; i < Group; ++i) {
        acc[r][i] = madd(value, V::load_partial(w[i] + whole, rest), acc[r][i]);
      }
    }
  }
}

// sums[r * sums_stride + lane] = sum over all operands and k of x[r][k] * weights[lane][k] for the
// first `lanes` rows of weights; the other lanes of the packet repeat the last one.
template <class T, int Rows>
void dot_packet(const DotOperands<T>* operands, int count, Index lanes, T* sums,
                Index sums_stride) {
  using V = Simd<T>;
  constexpr int width = V::width;
  // Weight rows at a time: with Rows of x their accumulators stay in registers.
  constexpr int group = std::max(1, std::min(width, 16 / (Rows == 3 ? 4 : Rows)));
  Eigen::internal::PacketBlock<typename V::Packet, width> total[Rows];
  for (int first = 0; first < width; first += group) {
    V acc[Rows][group];
#pragma GCC unroll 16
    for (auto& row : acc) {
#pragma GCC unroll 16
      for (V& v : row) v = V::zero();
    }
    dot_accumulate<T, Rows, group>(operands[0], first, lanes, acc);
    if (count > 1) dot_accumulate<T, Rows, group>(operands[1], first, lanes, acc);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < group; ++i) total[r].packet[first + i] = acc[r][i].v;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) sum_each<T>(total[r]).store(sums + r * sums_stride);
}

inline constexpr int max_dot_operands = 2;

// The same for any number of rows of x, four at a time.
template <class T>
void dot_rows(const DotOperands<T>* operands, int count, Index rows, Index lanes, T* sums,
              Index sums_stride) {
  using Kernel = void (*)(const DotOperands<T>*, int, Index, T*, Index);
  constexpr Kernel kernels[] = {&dot_packet<T, 1>, &dot_packet<T, 2>, &dot_packet<T, 3>,
                                &dot_packet<T, 4>};
  DotOperands<T> part[max_dot_operands];
  for (Index r = 0; r < rows; r += 4) {
    for (int o = 0; o < count; ++o) part[o] = operands[o].advanced(r);
    kernels[std::min<Index>(rows - r, 4) - 1](part, count, lanes, sums + r * sums_stride,
                                              sums_stride);
  }
}

}  // namespace rnncore
