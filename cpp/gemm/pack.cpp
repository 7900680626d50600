// Packing by packets, for float and double.
#include "gemm/pack.hpp"

#include <algorithm>

namespace rnncore {

template <class T>
void transpose(const T* from, Index from_stride, Index rows, Index cols, T* to, Index to_stride) {
  constexpr int width = Simd<T>::width;
  const Index square_rows = rows / width * width, square_cols = cols / width * width;
  for (Index r = 0; r < square_rows; r += width) {
    for (Index c = 0; c < square_cols; c += width) {
      SimdSquare<T> square;
      for (int i = 0; i < width; ++i) {
        square.set_row(i, Simd<T>::load(from + (r + i) * from_stride + c));
      }
      square.transpose();
      for (int i = 0; i < width; ++i) square.row(i).store(to + (c + i) * to_stride + r);
    }
  }
  for (Index r = 0; r < rows; ++r) {
    for (Index c = r < square_rows ? square_cols : 0; c < cols; ++c) {
      to[c * to_stride + r] = from[r * from_stride + c];
    }
  }
}

template <class T>
void pack_gates(Matrix<const T> weights, Index gates, Index panel, T* to) {
  constexpr int width = Simd<T>::width;
  const Index units = weights.rows / gates, depth = weights.cols, row = gates * width;
  const Index first = panel * width, count = std::min<Index>(width, units - first);
  for (Index g = 0; g < gates; ++g, to += width) {
    transpose(weights.row(g * units + first), weights.stride, count, depth, to, row);
    for (Index k = 0; count < width && k < depth; ++k) {
      std::fill(to + k * row + count, to + k * row + width, T(0));
    }
  }
}

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

template void transpose(const float*, Index, Index, Index, float*, Index);
template void transpose(const double*, Index, Index, Index, double*, Index);
template void pack_gates(Matrix<const float>, Index, Index, float*);
template void pack_gates(Matrix<const double>, Index, Index, double*);
template void pack_columns(Matrix<const float>, Index, Index, float*, Index);
template void pack_columns(Matrix<const double>, Index, Index, double*, Index);

}  // namespace rnncore
