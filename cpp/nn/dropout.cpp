// Masks of dropout: 32 random bits for each number; and what they are applied to.
#include "nn/dropout.hpp"

#include <algorithm>
#include <cmath>

#include "core/philox.hpp"

namespace rnncore {

template <class T>
void dropout_mask(Matrix<T> mask, double rate, std::uint64_t seed, std::uint32_t purpose) {
  const Philox random(seed);
  const T kept = static_cast<T>(1 / (1 - rate));
  const auto threshold = static_cast<std::uint64_t>(std::llround(rate * 0x1p32));
  alignas(64) std::uint32_t words[Philox::block_words];
  for (Index r = 0; r < mask.rows; ++r) {
    for (Index column = 0; column < mask.cols; column += Philox::block_words) {
      random.block(static_cast<std::uint32_t>(column / Philox::block_words), 0,
                   static_cast<std::uint32_t>(r), purpose, words);
      T* const to = mask.row(r) + column;
      const Index count = std::min<Index>(Philox::block_words, mask.cols - column);
      for (Index i = 0; i < count; ++i) to[i] = words[i] < threshold ? T(0) : kept;
    }
  }
}

template <class T>
void apply_mask(const Sequence<const T>& x, const Matrix<const T>& mask, const Sequence<T>& to) {
  for (Index b = 0; b < x.batch; ++b) {
    const T* const factors = mask.row(b);
    for (Index t = 0; t < x.steps; ++t) {
      const T* const from = x.row(t, b);
      T* const row = to.row(t, b);
      for (Index i = 0; i < x.features; ++i) row[i] = from[i] * factors[i];
    }
  }
}

template void dropout_mask(Matrix<float>, double, std::uint64_t, std::uint32_t);
template void dropout_mask(Matrix<double>, double, std::uint64_t, std::uint32_t);
template void apply_mask(const Sequence<const float>&, const Matrix<const float>&,
                         const Sequence<float>&);
template void apply_mask(const Sequence<const double>&, const Matrix<const double>&,
                         const Sequence<double>&);

}  // namespace rnncore
