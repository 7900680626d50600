// The masks of ZoneoutStep, drawn anew wherever they are needed.
#include "recurrence/layer/zoneout.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/philox.hpp"

namespace rnncore {
namespace {

constexpr Index block_units = 2 * Philox::block_words;  // 16 bits for each unit

std::uint32_t threshold_of(double rate) {
  return static_cast<std::uint32_t>(std::lround(rate * 65536));
}

// The low half of each word, then the high one.
void halve(const std::uint32_t* words, std::uint16_t* bits) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(bits, words, Philox::block_words * sizeof(std::uint32_t));
  } else {
    for (Index i = 0; i < Philox::block_words; ++i) {
      bits[2 * i] = static_cast<std::uint16_t>(words[i]);
      bits[2 * i + 1] = static_cast<std::uint16_t>(words[i] >> 16);
    }
  }
}

}  // namespace

template <class T>
void ZoneoutStep<T>::plan(ArenaPlan& plan) {
  for_states([&](std::size_t k) { plan.array(passing_[k], checked_mul(schedule_.rows(), H_)); });
}

template <class T>
template <class F>
void ZoneoutStep<T>::for_bits(const Share& mine, Range rows, Index step, std::size_t k,
                              const F& f) const {
  const Philox random(zoneout_.seed);
  const std::uint32_t purpose = zoneout_.purpose + static_cast<std::uint32_t>(k);
  alignas(64) std::uint32_t words[Philox::block_words];
  std::uint16_t bits[block_units];
  mine.for_units(rows, [&](Index r, Index begin, Index count) {
    const auto time = static_cast<std::uint32_t>(schedule_.time(step, r));
    const auto sequence = static_cast<std::uint32_t>(schedule_.sequence(r));
    for (Index unit = begin; unit < begin + count;) {
      const Index block = unit / block_units, from = unit % block_units;
      const Index some = std::min(block_units - from, begin + count - unit);
      random.block(static_cast<std::uint32_t>(block), time, sequence, purpose, words);
      halve(words, bits);
      f(r, unit, some, bits + from);
      unit += some;
    }
  });
}

template <class T>
void ZoneoutStep<T>::keep_drawn(const Share& mine, Range rows, Index step, const TapeView<T>& tape,
                                std::size_t k) const {
  const std::uint32_t threshold = threshold_of(zoneout_.rates[k]);
  const Index stride = tape.stride[k];
  const T* const before = tape.before(k, step);
  T* const after = tape.after(k, step);
  for_bits(mine, rows, step, k, [&](Index r, Index unit, Index count, const std::uint16_t* bits) {
    const T* __restrict const old = before + r * stride + unit;
    T* __restrict const to = after + r * stride + unit;
    for (Index i = 0; i < count; ++i) to[i] = bits[i] < threshold ? old[i] : to[i];
  });
}

template <class T>
void ZoneoutStep<T>::blend_expected(const Share& mine, Range rows, Index step,
                                    const TapeView<T>& tape, std::size_t k) const {
  const T rate = static_cast<T>(zoneout_.rates[k]);
  const Index stride = tape.stride[k];
  const T* const before = tape.before(k, step);
  T* const after = tape.after(k, step);
  mine.for_units(rows, [&](Index r, Index unit, Index count) {
    const T* const old = before + r * stride + unit;
    T* const to = after + r * stride + unit;
    for (Index i = 0; i < count; ++i) to[i] = expected_state(rate, old[i], to[i]);
  });
}

template <class T>
void ZoneoutStep<T>::forward(const Share& mine, Range rows, Index step, const TapeView<T>& tape,
                             const StepRows<T>& y) const {
  for_states([&](std::size_t k) {
    if (zoneout_.drawn) {
      keep_drawn(mine, rows, step, tape, k);
    } else {
      blend_expected(mine, rows, step, tape, k);
    }
  });
  const ScatteredRows<T> to = y.at(step, rows.begin);
  if (!to || !of(0)) return;
  const T* const h = tape.after(0, step);
  mine.for_units(rows, [&](Index r, Index unit, Index count) {
    std::copy_n(h + r * tape.stride[0] + unit, count, to.row(r - rows.begin) + unit);
  });
}

template <class T>
void ZoneoutStep<T>::split(const Share& mine, Range rows, Index step, const States<T*>& d,
                           const ScatteredRows<const T>& dy) const {
  for_states([&](std::size_t k) {
    const std::uint32_t threshold = threshold_of(zoneout_.rates[k]);
    for_bits(mine, rows, step, k, [&](Index r, Index unit, Index count, const std::uint16_t* bits) {
      T* __restrict const own = d[k] + r * H_ + unit;
      T* __restrict const passing = passing_[k] + r * H_ + unit;
      const T* const added = k == 0 && dy ? dy.row(r - rows.begin) + unit : nullptr;
      for (Index i = 0; i < count; ++i) {
        const T all = added != nullptr ? own[i] + added[i] : own[i];
        passing[i] = bits[i] < threshold ? all : T(0);
        own[i] = bits[i] < threshold ? T(0) : all;
      }
    });
  });
}

template <class T>
void ZoneoutStep<T>::join(const Share& mine, Range rows, const States<T*>& d) const {
  for_states([&](std::size_t k) {
    mine.for_units(rows, [&](Index r, Index unit, Index count) {
      T* const to = d[k] + r * H_ + unit;
      const T* const passing = passing_[k] + r * H_ + unit;
      for (Index i = 0; i < count; ++i) to[i] += passing[i];
    });
  });
}

template class ZoneoutStep<float>;
template class ZoneoutStep<double>;

}  // namespace rnncore
