// The tile unit: eight tiles of 16 rows of 64 bytes. Intel's AMX in the variant amx, the same
// arithmetic in software in the variant amx_emulated (tests on machines without AMX), none
// elsewhere.
#pragma once

#include <cstdint>

#include "core/types.hpp"
#if defined(RNNCORE_EMULATED_TILES) || defined(__AMX_BF16__)
#define RNNCORE_TILE_UNIT
#include "gemm/bf16/emulated_tiles.hpp"
#endif

namespace rnncore {

using Bf16 = std::uint16_t;

// A tile holds 16 rows of 16 float32, or of 32 bfloat16 that pair up.
inline constexpr Index tile_size = 16, tile_depth = 32, tile_elements = tile_size * tile_depth;

#if defined(RNNCORE_EMULATED_TILES)

using TileUnit = EmulatedTiles;
inline constexpr bool has_tile_unit = true;

#elif defined(__AMX_BF16__)

// The instructions, in assembly, since the compilers' macros want the tiles' numbers as literals
// and GCC's don't say that they touch memory.
class TileUnit {
 public:
  static void configure() {
    static constexpr Configuration all;
    asm volatile("ldtilecfg %0" ::"m"(all));
  }
  static void release() { asm volatile("tilerelease"); }

  template <int tile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(tile));
  }

  // From `offset` bytes behind `from`; rows start `stride` bytes apart.
  template <int tile, int offset>
  static void load(const void* from, Index stride) {
    asm volatile("tileloadd %c3(%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(tile), "i"(offset)
                 : "memory");
  }
  template <int tile>
  static void store(void* to, Index stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(tile) : "memory");
  }

  // c[m][n] += sum over pairs k of a[m][k][0] * b[k][n][0] + a[m][k][1] * b[k][n][1].
  template <int c, int a, int b>
  static void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
  }

 private:
  // LDTILECFG's operand: every tile is 16 rows of 64 bytes.
  struct alignas(64) Configuration {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static_assert(sizeof(Configuration) == 64);
};
inline constexpr bool has_tile_unit = true;

#else

struct TileUnit {
  static void configure() {}
  static void release() {}
};
inline constexpr bool has_tile_unit = false;

#endif

// This thread may use the tile unit while in scope. Scopes nest; the outermost one configures the
// tiles and gives them back (a thread that keeps them makes every switch of threads dearer).
class TileScope {
 public:
  explicit TileScope(bool wanted) : wanted_(has_tile_unit && wanted) {
    if (wanted_ && depth_++ == 0) TileUnit::configure();
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
  ~TileScope() {
    if (wanted_ && --depth_ == 0) TileUnit::release();
  }

 private:
  static inline thread_local int depth_ = 0;
  const bool wanted_;
};

}  // namespace rnncore
