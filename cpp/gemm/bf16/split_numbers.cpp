// Splits numbers as the kernels do it: by packets where the variant does, the rest one by one.
#include "gemm/bf16/split_numbers.hpp"

#include <bit>

#include "gemm/bf16/split.hpp"

namespace rnncore {
namespace {

template <int Parts>
void split_all(const float* x, Index count, Matrix<float> parts) {
  Index i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= count; i += 16) {
    __m512i bits[Parts];
    split(_mm512_loadu_ps(x + i), bits);
    for (int p = 0; p < Parts; ++p) _mm512_storeu_si512(parts.row(p) + i, bits[p]);
  }
#endif
  for (; i < count; ++i) {
    PartBits bits[Parts];
    split(x[i], bits);
    for (int p = 0; p < Parts; ++p) parts.row(p)[i] = std::bit_cast<float>(bits[p]);
  }
}

}  // namespace

void split_numbers(const float* x, Index count, Matrix<float> parts) {
  const auto split_into = parts.rows == 3   ? &split_all<3>
                          : parts.rows == 2 ? &split_all<2>
                                            : &split_all<1>;
  split_into(x, count, parts);
}

}  // namespace rnncore
