// Packing of float32 operands, split into bfloat16 parts, into the tile unit's layout.
#pragma once

#include <algorithm>

#include "gemm/bf16/split.hpp"
#include "gemm/bf16/tile_unit.hpp"
#include "gemm/pack.hpp"

#if defined(__AVX512F__)

namespace rnncore {

// A strip is one tile high (left operand) or wide (right operand) and runs along the depth k:
//   [block of 32 k][part][16 rows][32 k]                left
//   [block of 32 k][part][16 pairs of k][16 columns][2]  right
// Absent rows, columns and k are zero.
constexpr Index depth_blocks(Index depth) {
  return ceil_div(depth, tile_depth);
}
inline Index strip_size(Index depth, int parts) {
  return checked_mul(checked_mul(depth_blocks(depth), parts), tile_elements);
}

// 16 elements; those from `count` on are zero.
inline __m512 load_first(const float* from, Index count) {
  if (count >= tile_size) return _mm512_loadu_ps(from);
  const unsigned mask = count > 0 ? (1u << static_cast<unsigned>(count)) - 1u : 0u;
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
}

// The upper halves of 32 float32, in order.
inline __m512i upper_halves(__m512i first, __m512i second) {
  alignas(64) static constexpr std::uint16_t odd[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                        23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                        45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  return _mm512_permutex2var_epi16(first, _mm512_load_si512(odd), second);
}

// A left strip from up to 16 rows that run along k.
template <int Parts>
void pack_left(const float* from, Index stride, Index rows, Index depth, Bf16* to) {
  for (Index k = 0; k < depth; k += tile_depth, to += Parts * tile_elements) {
    for (Index r = 0; r < tile_size; ++r) {
      __m512i first[Parts] = {}, second[Parts] = {};
      if (r < rows) {
        const float* const at = from + r * stride + k;
        split(load_first(at, depth - k), first);
        split(load_first(at + tile_size, depth - k - tile_size), second);
      }
      for (int p = 0; p < Parts; ++p) {
        _mm512_storeu_si512(to + p * tile_elements + r * tile_depth,
                            upper_halves(first[p], second[p]));
      }
    }
  }
}

// A right strip from `depth` rows of up to 16 columns.
template <int Parts>
void pack_right(const float* from, Index stride, Index columns, Index depth, Bf16* to) {
  for (Index k = 0; k < depth; k += tile_depth, to += Parts * tile_elements) {
    for (Index pair = 0; pair < tile_size; ++pair) {
      const Index row = k + 2 * pair;
      __m512i even[Parts] = {}, odd[Parts] = {};
      if (row < depth) split(load_first(from + row * stride, columns), even);
      if (row + 1 < depth) split(load_first(from + (row + 1) * stride, columns), odd);
      for (int p = 0; p < Parts; ++p) {
        _mm512_storeu_si512(to + p * tile_elements + pair * tile_depth,
                            _mm512_or_si512(_mm512_srli_epi32(even[p], 16), odd[p]));
      }
    }
  }
}

// The same strips from operands that lie the other way round, by way of a small buffer.
template <int Parts>
void pack_left_transposed(const float* from, Index stride, Index rows, Index depth, Bf16* to) {
  alignas(64) float block[tile_elements];
  for (Index k = 0; k < depth; k += tile_depth, to += Parts * tile_elements) {
    const Index count = std::min(tile_depth, depth - k);
    transpose(from + k * stride, stride, count, rows, block, tile_depth);
    pack_left<Parts>(block, tile_depth, rows, count, to);
  }
}

template <int Parts>
void pack_right_transposed(const float* from, Index stride, Index columns, Index depth, Bf16* to) {
  alignas(64) float block[tile_elements];
  for (Index k = 0; k < depth; k += tile_depth, to += Parts * tile_elements) {
    const Index count = std::min(tile_depth, depth - k);
    transpose(from + k, stride, columns, count, block, tile_size);
    pack_right<Parts>(block, tile_size, columns, count, to);
  }
}

}  // namespace rnncore

#endif
