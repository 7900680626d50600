// Which columns of a left operand meet packed weights, and how sums over them are cut.
#pragma once

#include <array>

#include "core/simd.hpp"
#include "core/types.hpp"

namespace rnncore {

// A sum over k is cut into blocks that are added up in their order, and a block into pieces, each
// summed in a register: a long float32 sum loses less that way (the more where products are rounded
// too), and a piece of a panel stays in L1 while rows go past.
inline constexpr Index depth_block = 256, depth_piece = has_fused_madd ? 64 : 32;

// The columns k of the left operand that take part: up to two runs (GRU's tape keeps a slot that
// the recurrent product skips). The weights' k runs on across them.
struct Columns {
  std::array<Index, 2> begin{}, size{};
  Index total() const { return size[0] + size[1]; }
};

}  // namespace rnncore
