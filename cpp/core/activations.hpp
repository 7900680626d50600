// tanh and the logistic function on packets. Errors in units in the last place, from the tests:
// float32 at most 1.5 and 2.5, float64 at most 9 (Eigen's tanh) and 3.
#pragma once

#include "core/simd.hpp"

namespace rnncore {

namespace detail {

// e^y for float32 y in [-88, 88], to one unit in the last place; NaN gives NaN, e^-88 gives 0.
inline Simd<float> exponential(Simd<float> y) {
  using V = Simd<float>;
  using namespace Eigen::internal;
  // y = n ln 2 + r: adding 1.5 * 2^23 rounds to an integer n and leaves it in the low bits.
  const V magic = V::broadcast(12582912.0f);
  const V shifted = madd(y, V::broadcast(1.44269504f), magic);
  const V n = shifted - magic;
  // ln 2 in two parts, the first with few enough bits that its product with n is exact.
  V r = madd(n, V::broadcast(-0.693359375f), y);
  r = madd(n, V::broadcast(2.12194440e-4f), r);
  // (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2, minimax for e^r - 1 (relative error 1.4e-8).
  V q = V::broadcast(0x1.6bebfep-10f);
  q = madd(q, r, V::broadcast(0x1.1227b0p-7f));
  q = madd(q, r, V::broadcast(0x1.555674p-5f));
  q = madd(q, r, V::broadcast(0x1.5554b0p-3f));
  q = madd(q, r, V::broadcast(0x1.fffffep-2f));
  const V p = madd(q * r, r, r);
  using Bits = typename V::Traits::integer_packet;
  const Bits exponent = plogical_shift_left<23>(preinterpret<Bits>(shifted.v));
  const V scale{preinterpret<V::Packet>(padd(exponent, preinterpret<Bits>(V::broadcast(1.0f).v)))};
  return madd(scale, p, scale);
}

inline Simd<double> exponential(Simd<double> y) {
  return {Eigen::internal::pexp(y.v)};
}

// e^-largest is 0 or next to it, and no intermediate result overflows.
template <class T>
inline constexpr T largest = sizeof(T) == sizeof(float) ? T(88) : T(708);

}  // namespace detail

// x + x^3 P(x^2) below 0.625 (minimax, relative error 4.4e-9), 1 - 2 / (1 + e^{2|x|}) above;
// exactly
// +-1 from 10 on.
inline Simd<float> tanh(Simd<float> x) {
  using V = Simd<float>;
  const V t = min_or_nan(abs(x), V::broadcast(10.0f));
  const V one = V::broadcast(1.0f);
  const V large = one - V::broadcast(2.0f) / (one + detail::exponential(t + t));
  const V s = t * t;
  V p = V::broadcast(-0x1.75e1ccp-8f);
  p = madd(p, s, V::broadcast(0x1.52269ap-6f));
  p = madd(p, s, V::broadcast(-0x1.b83c5ap-5f));
  p = madd(p, s, V::broadcast(0x1.110726p-3f));
  p = madd(p, s, V::broadcast(-0x1.555532p-2f));
  const V small = madd(p * s, t, t);
  return copy_sign(where_less(t, V::broadcast(0.625f), small, large), x);
}

inline Simd<double> tanh(Simd<double> x) {
  return {Eigen::internal::ptanh(x.v)};
}

// 1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0, with e = e^{-|x|}.
template <class T>
Simd<T> logistic(Simd<T> x) {
  using V = Simd<T>;
  const V one = V::broadcast(T(1));
  const V e = detail::exponential(V::zero() - min_or_nan(abs(x), V::broadcast(detail::largest<T>)));
  return where_less(x, V::zero(), e, one) / (one + e);
}

}  // namespace rnncore
