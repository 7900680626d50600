// A float32 as the sum of up to three bfloat16 (docs/math/split.md), scalar and in packets.
#pragma once

#include <bit>
#include <cstdint>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace rnncore {

// A part of a split as the bits of a float32; its lower 16 bits are zero, the upper are a bfloat16.
using PartBits = std::uint32_t;

namespace split_bits {
inline constexpr PartBits upper = 0xffff0000u, half = 0x8000u, sign = 0x80000000u;
inline constexpr PartBits one = 0x3f800000u, infinity = 0x7f800000u, quiet = 0x00400000u;
// From here on a value is cut towards zero, below it is rounded, which is several times as
// accurate. A single part: where rounding would give infinity. Several: from 8 on, since the parts
// of a rounded value may differ in sign, and below 8 no sum of a block's lower products can
// overflow.
template <int Parts>
inline constexpr PartBits cut_from = Parts == 1 ? 0x7f7f8000u : 0x41000000u;
}  // namespace split_bits

// Finite x: a bfloat16 next to it, then one next to the rest, then what is left: three parts add up
// to x itself, and the last part of two is the nearest one. Infinity or NaN goes to the last part,
// after
// +-1 and zeros: the last part meets the other factor's first alone, so that infinity times w is
// the infinity of the right sign whatever w's lower parts are.
template <int Parts>
void split(float x, PartBits (&parts)[Parts]) {
  using namespace split_bits;
  const PartBits bits = std::bit_cast<PartBits>(x), magnitude = bits & ~sign;
  if (magnitude >= infinity) {
    parts[0] = (bits & sign) | one;
    if constexpr (Parts == 3) parts[1] = 0;
    parts[Parts - 1] = (bits & upper) | (magnitude > infinity ? quiet : 0);
    return;
  }
  const PartBits rounding = magnitude < cut_from<Parts> ? half : 0;
  parts[0] = (bits + rounding) & upper;
  for (int i = 1; i < Parts; ++i) {
    x -= std::bit_cast<float>(parts[i - 1]);
    parts[i] = (std::bit_cast<PartBits>(x) + (i == Parts - 1 ? half : rounding)) & upper;
  }
}

#if defined(__AVX512F__)

inline __m512i bits_of(PartBits value) {
  return _mm512_set1_epi32(std::bit_cast<int>(value));
}

// The same bits for 16 values at once.
template <int Parts>
void split(__m512 x, __m512i (&parts)[Parts]) {
  using namespace split_bits;
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i magnitude = _mm512_andnot_si512(bits_of(sign), bits);
  const __mmask16 finite = _mm512_cmplt_epu32_mask(magnitude, bits_of(infinity));
  const __mmask16 nan = _mm512_cmpgt_epu32_mask(magnitude, bits_of(infinity));
  const __mmask16 rounds = _mm512_cmplt_epu32_mask(magnitude, bits_of(cut_from<Parts>));
  const __m512i rounding = _mm512_maskz_mov_epi32(rounds, bits_of(half));
  const __m512i first = _mm512_and_si512(_mm512_add_epi32(bits, rounding), bits_of(upper));
  const __m512i special = _mm512_mask_or_epi32(first, nan, first, bits_of(quiet));
  if constexpr (Parts == 1) {
    parts[0] = special;
  } else {
    const __m512i unit = _mm512_or_si512(_mm512_and_si512(bits, bits_of(sign)), bits_of(one));
    parts[0] = _mm512_mask_mov_epi32(unit, finite, first);
    __m512 rest = _mm512_maskz_sub_ps(finite, x, _mm512_castsi512_ps(first));
    for (int i = 1; i < Parts; ++i) {
      const __m512i add = i == Parts - 1 ? bits_of(half) : rounding;
      parts[i] = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(rest), add), bits_of(upper));
      rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(parts[i]));
    }
    parts[Parts - 1] = _mm512_mask_mov_epi32(special, finite, parts[Parts - 1]);
  }
}

#endif

}  // namespace rnncore
