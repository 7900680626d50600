// Masks of dropout that no generator's state stands behind.
#pragma once

#include "core/types.hpp"

namespace rnncore {

// Fills `mask` with 0, with probability `rate`, else 1 / (1 - rate), so that the mean is 1. Each
// number follows from seed, purpose (what the mask is for), row and column alone.
template <class T>
void dropout_mask(Matrix<T> mask, double rate, std::uint64_t seed, std::uint32_t purpose);

// to = x times the mask (B, D) at every step; `to` may be x.
template <class T>
void apply_mask(const Sequence<const T>& x, const Matrix<const T>& mask, const Sequence<T>& to);

}  // namespace rnncore
