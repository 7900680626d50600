// Few rows times weights as they are stored: dot products along the rows of both, so that nothing
// is packed and every weight is read once.
#pragma once

#include <algorithm>

#include "core/types.hpp"
#include "gemm/choose.hpp"

namespace rnncore {

// Rows of x and the rows of weights that they meet, both `depth` long.
template <class T>
struct GemvOperands {
  const T* x = nullptr;
  Index x_stride = 0;
  const T* weights = nullptr;
  Index stride = 0, depth = 0;

  GemvOperands from_row(Index row) const {
    return {x + row * x_stride, x_stride, weights, stride, depth};
  }
};

inline constexpr int max_gemv_operands = 2;

// sums[r * sums_stride + lane] = sum over all operands and k of x[r][k] * weights[lane][k] for the
// first `lanes` rows of weights, a packet's width at most; the packet's other lanes repeat the
// last.
template <class T>
using GemvKernel = void (*)(const GemvOperands<T>* operands, int count, Index lanes, T* sums,
                            Index sums_stride);

// For 1 to max_gemv_rows rows of x.
template <class T>
struct GemvKernels {
  static const GemvKernel<T> of_rows[max_gemv_rows];
};

extern template struct GemvKernels<float>;
extern template struct GemvKernels<double>;

// The same for any number of rows of x.
template <class T>
void gemv(const GemvOperands<T>* operands, int count, Index rows, Index lanes, T* sums,
          Index sums_stride) {
  GemvOperands<T> some[max_gemv_operands];
  for (Index r = 0; r < rows; r += max_gemv_rows) {
    for (int o = 0; o < count; ++o) some[o] = operands[o].from_row(r);
    const Index left = std::min(rows - r, max_gemv_rows);
    GemvKernels<T>::of_rows[left - 1](some, count, lanes, sums + r * sums_stride, sums_stride);
  }
}

}  // namespace rnncore
