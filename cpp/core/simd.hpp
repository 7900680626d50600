// Simd<T>: the variant's widest packet of T with operators, on top of Eigen's packet math, so that
// a cell reads like its formulas.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <utility>

#include "core/types.hpp"

namespace rnncore {

template <class T>
struct Simd {
  using Packet = typename Eigen::internal::packet_traits<T>::type;
  using Traits = Eigen::internal::unpacket_traits<Packet>;
  static constexpr int width = Traits::size;

  Packet v;

  static Simd zero() { return {Eigen::internal::pzero(Packet{})}; }
  static Simd broadcast(T value) { return {Eigen::internal::pset1<Packet>(value)}; }
  static Simd load(const T* from) { return {Eigen::internal::ploadu<Packet>(from)}; }
  void store(T* to) const { Eigen::internal::pstoreu(to, v); }

  // The first `count` < width elements; the rest read as zero and are not written.
  static Simd load_partial(const T* from, Index count) {
    if constexpr (Traits::masked_load_available) {
      return {Eigen::internal::ploadu<Packet>(from, mask(count))};
    } else {
      return {Eigen::internal::ploaduSegment<Packet>(from, 0, count)};
    }
  }
  void store_partial(T* to, Index count) const {
    if constexpr (Traits::masked_store_available) {
      Eigen::internal::pstoreu<T>(to, v, mask(count));
    } else {
      Eigen::internal::pstoreuSegment<T, Packet>(to, v, 0, count);
    }
  }

  friend Simd operator+(Simd a, Simd b) { return {Eigen::internal::padd(a.v, b.v)}; }
  friend Simd operator-(Simd a, Simd b) { return {Eigen::internal::psub(a.v, b.v)}; }
  friend Simd operator*(Simd a, Simd b) { return {Eigen::internal::pmul(a.v, b.v)}; }
  friend Simd operator/(Simd a, Simd b) { return {Eigen::internal::pdiv(a.v, b.v)}; }

 private:
  static auto mask(Index count) {
    return static_cast<typename Traits::mask_t>((1u << static_cast<unsigned>(count)) - 1u);
  }
};

// a * b + c, fused where the variant has it.
template <class T>
Simd<T> madd(Simd<T> a, Simd<T> b, Simd<T> c) {
  return {Eigen::internal::pmadd(a.v, b.v, c.v)};
}

template <class T>
Simd<T> abs(Simd<T> x) {
  return {Eigen::internal::pabs(x.v)};
}

// The smaller and the larger of both; NaN where x is NaN (the order of the operands that x86 needs
// for that).
template <class T>
Simd<T> min_or_nan(Simd<T> x, Simd<T> bound) {
  return {Eigen::internal::pmin(x.v, bound.v)};
}

template <class T>
Simd<T> max_or_nan(Simd<T> x, Simd<T> bound) {
  return {Eigen::internal::pmax(x.v, bound.v)};
}

// `magnitude`, whose sign bit is 0, with the sign bit of `sign`.
template <class T>
Simd<T> copy_sign(Simd<T> magnitude, Simd<T> sign) {
  const auto bit = Simd<T>::broadcast(T(-0.0)).v;
  return {Eigen::internal::por(magnitude.v, Eigen::internal::pand(sign.v, bit))};
}

// `yes` where a < b, else `no`.
template <class T>
Simd<T> where_less(Simd<T> a, Simd<T> b, Simd<T> yes, Simd<T> no) {
  return {Eigen::internal::pselect(Eigen::internal::pcmp_lt(a.v, b.v), yes.v, no.v)};
}

// max(x, 0); NaN stays NaN.
template <class T>
Simd<T> relu(Simd<T> x) {
  return {Eigen::internal::pmax<Eigen::PropagateNaN>(x.v, Simd<T>::zero().v)};
}

// `value` where y > 0 (or y is NaN), else 0: the gradient of relu through its output y.
template <class T>
Simd<T> where_positive(Simd<T> y, Simd<T> value) {
  return {Eigen::internal::pandnot(value.v, Eigen::internal::pcmp_le(y.v, Simd<T>::zero().v))};
}

// A whole packet, or the first `count` elements of the last one where a row is no multiple of it.
template <class T>
struct Whole {
  static Simd<T> load(const T* from) { return Simd<T>::load(from); }
  static void store(Simd<T> value, T* to) { value.store(to); }
};

template <class T>
struct Partial {
  Index count;
  Simd<T> load(const T* from) const {
    return count == Simd<T>::width ? Simd<T>::load(from) : Simd<T>::load_partial(from, count);
  }
  void store(Simd<T> value, T* to) const {
    count == Simd<T>::width ? value.store(to) : value.store_partial(to, count);
  }
};

// to += value, the first `count` of a packet at most.
template <class T>
void add_packet(Simd<T> value, T* to, Index count) {
  const Partial<T> lanes{std::min<Index>(Simd<T>::width, count)};
  lanes.store(lanes.load(to) + value, to);
}

}  // namespace rnncore
