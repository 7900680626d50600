// The tile unit's microkernel: split strips times split strips, in its registers.
#pragma once

#include <array>
#include <utility>

#include "gemm/bf16/pack.hpp"
#include "gemm/precision.hpp"

namespace rnncore {

constexpr int parts_of(Precision precision) {
  return precision == Precision::highest ? 3 : precision == Precision::high ? 2 : 1;
}

// Calls f(std::integral_constant<int, parts>).
template <class F>
void with_parts(int parts, F&& f) {
  if (parts == 3) {
    f(std::integral_constant<int, 3>{});
  } else if (parts == 2) {
    f(std::integral_constant<int, 2>{});
  } else {
    f(std::integral_constant<int, 1>{});
  }
}

// sums[row][column] of Rows x Columns tiles: the left strips and the right strips lie `strip`
// elements apart, rows of sums `stride` floats.
using SplitMicrokernel = void (*)(const Bf16* left, const Bf16* right, Index strip, Index blocks,
                                  float* sums, Index stride);

#if defined(RNNCORE_TILE_UNIT)

// Which parts meet: those whose indices add up to less than Parts, small products first, so that
// one rounding at full size ends each block of k. The order lets parts stay in their tiles.
struct PartPair {
  int left, right;
  bool loads_left, loads_right;
};

template <int Parts>
constexpr auto part_pairs() {
  if constexpr (Parts == 3) {
    return std::array<PartPair, 6>{{{2, 0, true, true},
                                    {1, 0, true, false},
                                    {1, 1, false, true},
                                    {0, 1, true, false},
                                    {0, 2, false, true},
                                    {0, 0, false, true}}};
  } else if constexpr (Parts == 2) {
    return std::array<PartPair, 3>{{{1, 0, true, true}, {0, 1, true, true}, {0, 0, false, true}}};
  } else {
    return std::array<PartPair, 1>{{{0, 0, true, true}}};
  }
}

// Tiles 0 to 3 hold the sums, the next `Rows` the left operand, the others the right one.
template <class Unit, int Parts, int Rows, int Columns>
class SplitTile {
 public:
  static void run(const Bf16* left, const Bf16* right, Index strip, Index blocks, float* sums,
                  Index stride) {
    zero(AllSums{});
    for (; blocks > 0; --blocks) {
      block(left, right, strip, std::make_index_sequence<pairs.size()>{});
      left += Parts * tile_elements;
      right += Parts * tile_elements;
    }
    store(sums, stride, AllSums{});
  }

 private:
  static_assert(Rows * Columns <= 4);
  template <int count>
  using Count = std::make_integer_sequence<int, count>;
  using AllSums = Count<Rows * Columns>;

  static constexpr auto pairs = part_pairs<Parts>();
  static constexpr int left_tile = 4, right_tile = 4 + Rows, right_tiles = 8 - right_tile;
  static constexpr int row_bytes = 64, tile_bytes = 16 * row_bytes;

  template <int... i>
  static void zero(std::integer_sequence<int, i...>) {
    (Unit::template zero<i>(), ...);
  }

  template <int... i>
  static void store(float* sums, Index stride, std::integer_sequence<int, i...>) {
    (Unit::template store<i>(sums + i / Columns * tile_size * stride + i % Columns * tile_size,
                             stride * Index{sizeof(float)}),
     ...);
  }

  // All pairs of parts of a block of 32 k.
  template <std::size_t... pair>
  [[gnu::always_inline]] static void block(const Bf16* left, const Bf16* right, Index strip,
                                           std::index_sequence<pair...>) {
    (multiply<pairs[pair].left, pairs[pair].right, pairs[pair].loads_left, pairs[pair].loads_right>(
         left, right, strip, Count<Columns>{}),
     ...);
  }

  template <int left_part, int right_part, bool loads_left, bool loads_right, int... column>
  [[gnu::always_inline]] static void multiply(const Bf16* left, const Bf16* right, Index strip,
                                              std::integer_sequence<int, column...>) {
    if constexpr (loads_left) load_left<left_part>(left, strip, Count<Rows>{});
    (multiply_column < column, right_part,
     loads_right || (Columns > right_tiles) > (right + column * strip, Count<Rows>{}), ...);
  }

  template <int part, int... row>
  [[gnu::always_inline]] static void load_left(const Bf16* left, Index strip,
                                               std::integer_sequence<int, row...>) {
    (Unit::template load<left_tile + row, part * tile_bytes>(left + row * strip, row_bytes), ...);
  }

  template <int column, int part, bool loads, int... row>
  [[gnu::always_inline]] static void multiply_column(const Bf16* right,
                                                     std::integer_sequence<int, row...>) {
    constexpr int tile = right_tile + column % right_tiles;
    if constexpr (loads) Unit::template load<tile, part * tile_bytes>(right, row_bytes);
    (Unit::template dot<row * Columns + column, left_tile + row, tile>(), ...);
  }
};

// The kernel for one row tile and 1 to 4 columns of tiles, or two and 1 or 2.
template <class Unit, int Parts>
SplitMicrokernel split_kernel(Index rows, Index columns) {
  static constexpr SplitMicrokernel one[] = {
      &SplitTile<Unit, Parts, 1, 1>::run, &SplitTile<Unit, Parts, 1, 2>::run,
      &SplitTile<Unit, Parts, 1, 3>::run, &SplitTile<Unit, Parts, 1, 4>::run};
  static constexpr SplitMicrokernel two[] = {&SplitTile<Unit, Parts, 2, 1>::run,
                                             &SplitTile<Unit, Parts, 2, 2>::run};
  return rows == 1 ? one[columns - 1] : two[columns - 1];
}

// sums (rows x columns tiles) of packed strips, rows in {1, 2}.
template <int Parts, class Unit = TileUnit>
void multiply_strips(const Bf16* left, const Bf16* right, Index strip, Index rows, Index columns,
                     float* sums) {
  const Index blocks = strip / (Parts * tile_elements), stride = columns * tile_size;
  const Index most = rows == 1 ? 4 : 2;
  for (Index c = 0; c < columns; c += most) {
    const Index wide = std::min(most, columns - c);
    split_kernel<Unit, Parts>(rows, wide)(left, right + c * strip, strip, blocks,
                                          sums + c * tile_size, stride);
  }
}

#endif

}  // namespace rnncore
