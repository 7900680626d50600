// Simd<T>: the variant's widest packet of T with operators, on top of Eigen's packet math, so that
// a cell reads like its formulas. The only file that knows Eigen's packets.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <utility>

#include "core/types.hpp"

namespace rnncore {

// How many registers hold packets, and whether a multiply and an add are one operation.
#if defined(__AVX512F__)
inline constexpr int simd_registers = 32;
#else
inline constexpr int simd_registers = 16;
#endif
#if defined(__FMA__)
inline constexpr bool has_fused_madd = true;
#else
inline constexpr bool has_fused_madd = false;
#endif

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

// 2^n, where `shifted` = n + 1.5 * 2^m, m the bits of the significand: n stands in the low bits.
template <class T>
Simd<T> power_of_two(Simd<T> shifted) {
  using namespace Eigen::internal;
  using Bits = typename Simd<T>::Traits::integer_packet;
  constexpr int significand = sizeof(T) == sizeof(float) ? 23 : 52;
  const Bits exponent = plogical_shift_left<significand>(preinterpret<Bits>(shifted.v));
  const Bits one = preinterpret<Bits>(Simd<T>::broadcast(T(1)).v);
  return {preinterpret<typename Simd<T>::Packet>(padd(exponent, one))};
}

// As many rows as a packet has elements.
template <class T>
class SimdSquare {
 public:
  static constexpr int width = Simd<T>::width;

  void set_row(int i, Simd<T> row) { rows_.packet[i] = row.v; }
  Simd<T> row(int i) const { return {rows_.packet[i]}; }

  // Rows become columns.
  void transpose() { Eigen::internal::ptranspose(rows_); }

  // One packet whose element i is the sum of row i's. The rows are used up.
  Simd<T> row_sums() {
    transpose();
    for (int half = width / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) {
        rows_.packet[i] = Eigen::internal::padd(rows_.packet[i], rows_.packet[i + half]);
      }
    }
    return row(0);
  }

 private:
  Eigen::internal::PacketBlock<typename Simd<T>::Packet, width> rows_;
};

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
