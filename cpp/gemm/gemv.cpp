// The dot products of few rows, a packet of weight rows at a time.
#include "gemm/gemv.hpp"

#include <bit>

#include "core/simd.hpp"

namespace rnncore {
namespace {

// acc[r][i] += packets of x[r] * weights[first + i] for Rows rows of x and Group of weights, the
// last of which is row `lanes` - 1.
template <class T, int Rows, int Group>
[[gnu::always_inline]] inline void accumulate(const GemvOperands<T>& o, int first, Index lanes,
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

// Weight rows at a time: with Rows of x their sums stay in registers, beside the operands.
constexpr unsigned most_sums = simd_registers == 32 ? 16 : has_fused_madd ? 12 : 6;
template <class T, int Rows>
constexpr int group_rows = std::min<int>(Simd<T>::width, std::bit_floor(most_sums / Rows));

template <class T, int Rows>
void gemv_packet(const GemvOperands<T>* operands, int count, Index lanes, T* sums,
                 Index sums_stride) {
  using V = Simd<T>;
  constexpr int width = V::width, group = group_rows<T, Rows>;
  SimdSquare<T> total[Rows];
  for (int first = 0; first < width; first += group) {
    V acc[Rows][group];
#pragma GCC unroll 16
    for (auto& row : acc) {
#pragma GCC unroll 16
      for (V& v : row) v = V::zero();
    }
    accumulate<T, Rows, group>(operands[0], first, lanes, acc);
    if (count > 1) accumulate<T, Rows, group>(operands[1], first, lanes, acc);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < group; ++i) total[r].set_row(first + i, acc[r][i]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) total[r].row_sums().store(sums + r * sums_stride);
}

}  // namespace

template <class T>
const GemvKernel<T> GemvKernels<T>::of_rows[] = {&gemv_packet<T, 1>, &gemv_packet<T, 2>,
                                                 &gemv_packet<T, 3>, &gemv_packet<T, 4>};

template struct GemvKernels<float>;
template struct GemvKernels<double>;

}  // namespace rnncore
