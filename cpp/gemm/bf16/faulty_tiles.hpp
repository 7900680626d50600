// Software tiles with a planted fault, for the tests of the check (tile_check.cpp); in the variant
// amx_emulated alone.
#pragma once

#include <string_view>
#include <utility>

#include "gemm/bf16/emulated_tiles.hpp"

namespace rnncore {

class FaultyTiles : public EmulatedTiles {
 public:
  static inline std::string_view planted;  // one of the names below, or empty: no fault

  template <int tile>
  static void zero() {
    if (planted == "not cleared") return;
    EmulatedTiles::zero<tile>();
  }

  template <int tile, int offset>
  static void load(const void* from, std::ptrdiff_t stride) {
    if (planted == "offset ignored") return EmulatedTiles::load<tile, 0>(from, stride);
    if (planted == "load stride ignored") return EmulatedTiles::load<tile, offset>(from, 0);
    EmulatedTiles::load<tile, offset>(from, stride);
    if (planted == "last number not loaded") configured(tile).row[15][15] = 0;
    if (planted == "tile 7 not loaded" && tile == 7) configured(tile) = Tile{};
  }

  template <int tile>
  static void store(void* to, std::ptrdiff_t stride) {
    if (planted == "store stride ignored") stride = 64;
    if (planted == "not stored" && tile == 3) return;
    EmulatedTiles::store<tile>(to, stride);
  }

  template <int c, int a, int b>
  static void dot() {
    Tile &to = configured(c), left = configured(a), right = configured(b);
    if (planted == "order of k") return dot_in_order(to, left, right);
    if (planted == "operands swapped") std::swap(left, right);
    if (planted == "last pair dropped") clear_last_pairs(left);
    const bool subnormals = planted == "subnormals kept";
    const bool cut = planted == "rounded towards zero";
    EmulatedTiles::dot(to, left, right, subnormals ? 0x1f80 : cut ? 0xffc0 : control_of_the_unit);
  }

 private:
  // One sum of all 32 products, begun with c, where the unit has three.
  static void dot_in_order(Tile& c, const Tile& a, const Tile& b) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(control_of_the_unit);
    for (int m = 0; m < 16; ++m) {
      __m512 sum = _mm512_load_ps(c.row[m]);
      for (int k = 0; k < 16; ++k) {
        const __m512i left = _mm512_set1_epi32(static_cast<int>(a.row[m][k]));
        const __m512i right = _mm512_load_si512(b.row[k]);
        sum = _mm512_fmadd_ps(first(left), first(right), sum);
        sum = _mm512_fmadd_ps(second(left), second(right), sum);
      }
      _mm512_store_ps(c.row[m], sum);
    }
    _mm_setcsr(before);
  }

  static void clear_last_pairs(Tile& left) {
    for (auto& row : left.row) row[15] = 0;
  }
};

}  // namespace rnncore
