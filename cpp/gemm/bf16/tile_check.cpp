// Compares the tile unit with the software tiles, bit for bit.
#include "gemm/bf16/tile_check.hpp"

#include "gemm/bf16/tile_unit.hpp"

#if defined(RNNCORE_TILE_UNIT)

#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "gemm/bf16/microkernel.hpp"
#if defined(RNNCORE_EMULATED_TILES)
#include "gemm/bf16/faulty_tiles.hpp"
#endif

namespace rnncore {
namespace {

#if defined(RNNCORE_EMULATED_TILES)
using CheckedTiles = FaultyTiles;
#else
using CheckedTiles = TileUnit;
#endif

struct Problem {
  Index rows, columns, depth;
};

// Each kernel once: one row tile by one to four column tiles, two by one and two. Full tiles and
// partial ones; one to three blocks of k.
constexpr Problem problems[] = {{16, 16, 32}, {5, 23, 7},   {11, 48, 64},
                                {1, 57, 65},  {32, 16, 33}, {27, 30, 96}};
constexpr Index most_rows = 32, most_columns = 64;

// Random signs and mantissas; random exponents in a range of 16 from a lowest one (as in the bits,
// 127 is that of 1.0). A sum of such numbers rounds at every step, so it shows its order.
class Numbers {
 public:
  float operator()(PartBits lowest) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const auto bits = static_cast<PartBits>(state_ >> 32);
    const PartBits exponent = lowest == 0 ? 0 : lowest + (bits >> 23) % 16;
    return std::bit_cast<float>((bits & 0x807fffffu) | exponent << 23);
  }

 private:
  std::uint64_t state_ = 0;
};

constexpr PartBits plain = 119, small = 53, large = 199, subnormal = 0;

// Left rows by turns: plain numbers; small ones, which with small ones make subnormal sums;
// subnormal ones, which with large ones would count; plain ones with zeros between them.
std::vector<float> left_numbers(Numbers& numbers, const Problem& problem) {
  constexpr PartBits lowest[] = {plain, small, subnormal, plain};
  std::vector<float> left;
  for (Index r = 0; r < problem.rows; ++r) {
    for (Index k = 0; k < problem.depth; ++k) {
      const float x = numbers(lowest[r % 4]);
      left.push_back(r % 4 == 3 && k % 3 == 0 ? std::copysign(0.0f, x) : x);
    }
  }
  if (problem.rows > 8) {
    left[static_cast<std::size_t>(7 * problem.depth)] = -HUGE_VALF;
    left[static_cast<std::size_t>(8 * problem.depth + 1)] = std::nanf("");
  }
  return left;
}

std::vector<float> right_numbers(Numbers& numbers, const Problem& problem) {
  constexpr PartBits lowest[] = {plain, small, large};
  std::vector<float> right;
  for (Index k = 0; k < problem.depth; ++k) {
    for (Index n = 0; n < problem.columns; ++n) right.push_back(numbers(lowest[n % 3]));
  }
  return right;
}

// The operands of one problem in strips, as the kernels take them.
template <int Parts>
class PackedOperands {
 public:
  PackedOperands(Numbers& numbers, const Problem& problem)
      : strip_(strip_size(problem.depth, Parts)),
        row_tiles_(ceil_div(problem.rows, tile_size)),
        column_tiles_(ceil_div(problem.columns, tile_size)),
        left_(static_cast<std::size_t>(row_tiles_ * strip_)),
        right_(static_cast<std::size_t>(column_tiles_ * strip_)) {
    const auto [rows, columns, depth] = problem;
    const std::vector<float> left = left_numbers(numbers, problem);
    const std::vector<float> right = right_numbers(numbers, problem);
    for (Index i = 0; i < row_tiles_; ++i) {
      const Index first = i * tile_size, count = std::min(tile_size, rows - first);
      pack_left<Parts>(left.data() + first * depth, depth, count, depth, left_.data() + i * strip_);
    }
    for (Index i = 0; i < column_tiles_; ++i) {
      const Index first = i * tile_size, count = std::min(tile_size, columns - first);
      pack_right<Parts>(right.data() + first, columns, count, depth, right_.data() + i * strip_);
    }
  }

  // Sums in rows of `stride()`.
  template <class Unit>
  void multiply(float* sums) const {
    multiply_strips<Parts, Unit>(left_.data(), right_.data(), strip_, row_tiles_, column_tiles_,
                                 sums);
  }
  Index stride() const { return column_tiles_ * tile_size; }
  Index size() const { return row_tiles_ * tile_size * stride(); }

 private:
  const Index strip_, row_tiles_, column_tiles_;
  std::vector<Bf16> left_, right_;
};

// NaN is as good as any other NaN.
bool same(float a, float b) {
  return std::bit_cast<PartBits>(a) == std::bit_cast<PartBits>(b) ||
         (std::isnan(a) && std::isnan(b));
}

template <int Parts>
std::string fault_in(Numbers& numbers, const Problem& problem) {
  const PackedOperands<Parts> operands(numbers, problem);
  alignas(64) float found[most_rows * most_columns], expected[most_rows * most_columns];
  std::fill_n(found, operands.size(), 12345.0f);  // what is not stored differs
  operands.template multiply<CheckedTiles>(found);
  operands.template multiply<EmulatedTiles>(expected);
  for (Index i = 0; i < operands.size(); ++i) {
    if (same(found[i], expected[i])) continue;
    std::array<char, 160> text;
    std::snprintf(text.data(), text.size(),
                  "%d parts, %td x %td by depth %td: row %td, column %td is %a instead of %a",
                  Parts, problem.rows, problem.columns, problem.depth, i / operands.stride(),
                  i % operands.stride(), static_cast<double>(found[i]),
                  static_cast<double>(expected[i]));
    return text.data();
  }
  return {};
}

std::string first_fault() {
  Numbers numbers;
  for (const Problem& problem : problems) {
    for (const int parts : {1, 2, 3}) {
      std::string fault;
      with_parts(parts, [&](auto count) { fault = fault_in<count>(numbers, problem); });
      if (!fault.empty()) return fault;
    }
  }
  return {};
}

}  // namespace

std::optional<std::string> tile_unit_fault() {
#if defined(RNNCORE_EMULATED_TILES)
  const char* const planted = std::getenv("RNNCORE_TILE_FAULT");
  FaultyTiles::planted = planted == nullptr ? "" : planted;
  const TileScope both(true);
  return first_fault();
#else
  EmulatedTiles::configure();
  const TileScope tiles(true);
  std::string fault = first_fault();
  EmulatedTiles::release();
  return fault;
#endif
}

}  // namespace rnncore

#else

namespace rnncore {

std::optional<std::string> tile_unit_fault() {
  return std::nullopt;
}

}  // namespace rnncore

#endif
