// Software tiles: what Intel's manual says of AMX-BF16, bit for bit, on AVX-512. The tile unit of
// the variant amx_emulated, and what the variant amx is checked against (tile_check.cpp).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace rnncore {

class EmulatedTiles {
 public:
  static void configure() {
    state = State{};
    state.configured = true;
  }
  static void release() { state.configured = false; }

  template <int tile>
  static void zero() {
    configured(tile) = Tile{};
  }

  template <int tile, int offset>
  static void load(const void* from, std::ptrdiff_t stride) {
    Tile& to = configured(tile);
    for (int r = 0; r < 16; ++r) {
      std::memcpy(to.row[r], static_cast<const std::byte*>(from) + offset + r * stride, 64);
    }
  }

  template <int tile>
  static void store(void* to, std::ptrdiff_t stride) {
    const Tile& from = configured(tile);
    for (int r = 0; r < 16; ++r) {
      std::memcpy(static_cast<std::byte*>(to) + r * stride, from.row[r], 64);
    }
  }

  template <int c, int a, int b>
  static void dot() {
    dot(configured(c), configured(a), configured(b), control_of_the_unit);
  }

 protected:
  struct alignas(64) Tile {
    std::uint32_t row[16][16];
  };

  // An instruction on tiles that are not configured ends the program there, and here.
  static Tile& configured(int tile) {
    if (!state.configured) std::abort();
    return state.tile[tile];
  }

  // MXCSR: masked exceptions, flush to zero, denormals are zero, to nearest even.
  static constexpr unsigned control_of_the_unit = 0x9fc0;

  // TDPBF16PS: from zero, the products of the pairs' first elements are summed by fused
  // multiply-adds in the order of k, those of the second ones likewise; both sums are added, and
  // the result is added to c. Round to nearest even; subnormal operands and results are zero,
  // whatever MXCSR says.
  static void dot(Tile& c, const Tile& a, const Tile& b, unsigned control) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(control);
    for (int m = 0; m < 16; ++m) {
      __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
      for (int k = 0; k < 16; ++k) {
        const __m512i left = _mm512_set1_epi32(static_cast<int>(a.row[m][k]));
        const __m512i right = _mm512_load_si512(b.row[k]);
        even = _mm512_fmadd_ps(first(left), first(right), even);
        odd = _mm512_fmadd_ps(second(left), second(right), odd);
      }
      const __m512 sum = _mm512_add_ps(_mm512_load_ps(c.row[m]), _mm512_add_ps(even, odd));
      _mm512_store_ps(c.row[m], sum);
    }
    _mm_setcsr(before);
  }

  // The pairs' elements as float32.
  static __m512 first(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
  static __m512 second(__m512i pairs) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
  }

 private:
  struct State {
    Tile tile[8];
    bool configured;
  };
  static inline thread_local State state;
};

}  // namespace rnncore
