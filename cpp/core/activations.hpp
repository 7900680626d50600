// tanh, the logistic function and softplus on packets. Largest errors in units in the last place,
// held by the tests: float32 1.5, 2.5 and 5, float64 2, 3 and 5.
#pragma once

#include "core/simd.hpp"

namespace rnncore {

namespace detail {

// c[0] + c[1] x + c[2] x^2 + ...
template <class T, int N>
Simd<T> polynomial(Simd<T> x, const T (&c)[N]) {
  auto p = Simd<T>::broadcast(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) p = madd(p, x, Simd<T>::broadcast(c[i]));
  return p;
}

// The same for an odd count of coefficients, two at a time: one product more, and a chain of
// dependent multiply-adds half as long.
template <class T, int N>
Simd<T> polynomial_by_pairs(Simd<T> x, const T (&c)[N]) {
  static_assert(N % 2 == 1);
  const auto x2 = x * x;
  auto p = Simd<T>::broadcast(c[N - 1]);
  for (int i = N - 3; i >= 0; i -= 2)
    p = madd(p, x2, madd(x, Simd<T>::broadcast(c[i + 1]), Simd<T>::broadcast(c[i])));
  return p;
}

// e^y for float32 y in [-88, 88], to one unit in the last place; NaN gives NaN, e^-88 gives 0.
[[gnu::always_inline]] inline Simd<float> exponential(Simd<float> y) {
  using V = Simd<float>;
  // y = n ln 2 + r: adding 1.5 * 2^23 rounds to an integer n and leaves it in the low bits.
  const V magic = V::broadcast(0x1.8p23f);
  const V shifted = madd(y, V::broadcast(1.44269504f), magic);
  const V n = shifted - magic;
  // ln 2 in two parts, the first with few enough bits that its product with n is exact.
  V r = madd(n, V::broadcast(-0.693359375f), y);
  r = madd(n, V::broadcast(2.12194440e-4f), r);
  // (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2, minimax for e^r - 1 (relative error 1.4e-8).
  const V q = polynomial(
      r, {0x1.fffffep-2f, 0x1.5554b0p-3f, 0x1.555674p-5f, 0x1.1227b0p-7f, 0x1.6bebfep-10f});
  const V p = madd(q * r, r, r);
  const V scale = power_of_two(shifted);
  return madd(scale, p, scale);
}

// t = n ln 2 / 2 + y with |y| <= ln 2 / 4, for |t| <= 355; e^{2t} = 2^n (k + y) / (k - y), where
// k = y coth y.
struct HalfReduced {
  Simd<double> two_to_n, y;
};

inline HalfReduced reduce(Simd<double> t) {
  using V = Simd<double>;
  const V magic = V::broadcast(0x1.8p52);
  const V shifted = madd(t, V::broadcast(0x1.71547652b82fep1), magic);
  const V n = shifted - magic;
  const V y = madd(n, V::broadcast(-0x1.62e42fefa38p-2), t);
  return {power_of_two(shifted), madd(n, V::broadcast(-0x1.ef35793c7673p-46), y)};
}

}  // namespace detail

// x + x^3 P(x^2) below 0.625 (minimax, relative error 4.4e-9), 1 - 2 / (1 + e^{2|x|}) above;
// exactly +-1 from 10 on.
[[gnu::always_inline]] inline Simd<float> tanh(Simd<float> x) {
  using V = Simd<float>;
  const V t = min_or_nan(abs(x), V::broadcast(10.0f));
  const V one = V::broadcast(1.0f);
  const V large = one - V::broadcast(2.0f) / (one + detail::exponential(t + t));
  const V s = t * t;
  const V p = detail::polynomial(
      s, {-0x1.555532p-2f, 0x1.110726p-3f, -0x1.b83c5ap-5f, 0x1.52269ap-6f, -0x1.75e1ccp-8f});
  const V small = madd(p * s, t, t);
  return copy_sign(where_less(t, V::broadcast(0.625f), small, large), x);
}

// With e^{2|x|} = a / b: (a - b) / (a + b), where a + b is (a - b) + 2 b, so that the rounding of
// a - b falls out of the quotient near 1. Below atanh(1/2) a - b would cancel: there y = |x| and
// the result is y / k (relative error of k at most 5.6e-17, 3.2e-17 next to the bound).
// Exactly +-1 from 19.1 on.
[[gnu::always_inline]] inline Simd<double> tanh(Simd<double> x) {
  using V = Simd<double>;
  const V t = min_or_nan(abs(x), V::broadcast(20.0));
  const V bound = V::broadcast(0.5494);
  const auto [two_to_n, reduced] = detail::reduce(t);
  const V y = where_less(t, bound, t, reduced);
  const V s = y * y;
  const V p = detail::polynomial_by_pairs(
      s, {0x1.5555555555450p-2, -0x1.6c16c16bc3676p-6, 0x1.1566ab77d913ep-9, -0x1.bbd73d8f385d9p-13,
          0x1.669bb2ad2d0aap-16, -0x1.20deda06e6732p-19, 0x1.a0c93b27b46dep-23});
  const V k = madd(p, s, V::broadcast(1.0));
  const V minus_b = y - k;
  const V difference = madd(two_to_n, k + y, minus_b);
  const V sum = madd(V::broadcast(-2.0), minus_b, difference);
  return copy_sign(where_less(t, bound, y, difference) / where_less(t, bound, k, sum), x);
}

// 1 / (1 + e^{-x}); 0 from -88 on.
[[gnu::always_inline]] inline Simd<float> logistic(Simd<float> x) {
  using V = Simd<float>;
  const V one = V::broadcast(1.0f), bound = V::broadcast(88.0f);
  const V y = max_or_nan(min_or_nan(V::zero() - x, bound), V::zero() - bound);
  return one / (one + detail::exponential(y));
}

// b / (a + b) with e^{-x} = a / b; below -709.5 a is infinite and the result 0. k is minimax with a
// relative error of 1.1e-18.
[[gnu::always_inline]] inline Simd<double> logistic(Simd<double> x) {
  using V = Simd<double>;
  const V clamped = max_or_nan(min_or_nan(x, V::broadcast(708.0)), V::broadcast(-710.0));
  const auto [two_to_n, y] = detail::reduce(clamped * V::broadcast(-0.5));
  const V k = detail::polynomial(
      y * y, {1.0, 0x1.555555555553ep-2, -0x1.6c16c16beb8a3p-6, 0x1.1566aaf141e3bp-9,
              -0x1.bbd419390308bp-13, 0x1.6375129840c5ep-16});
  const V b = k - y;
  return b / madd(two_to_n, k + y, b);
}

// log(1 + e^x) = max(x, 0) + log(1 + e^{-|x|}), of which the latter is 2 atanh(p / (2 - p)) with
// p = logistic(-|x|): Taylor's series of atanh, on [0, 1/3].
template <class T>
Simd<T> softplus(Simd<T> x) {
  using V = Simd<T>;
  constexpr int terms = sizeof(T) == sizeof(float) ? 7 : 16;
  const V p = logistic(V::zero() - abs(x));
  const V s = p / (V::broadcast(2) - p), s2 = s * s;
  V series = V::broadcast(T(2) / T(2 * terms + 1));
  for (int k = terms - 1; k >= 0; --k) series = madd(series, s2, V::broadcast(T(2) / T(2 * k + 1)));
  return madd(series, s, relu(x));
}

}  // namespace rnncore
