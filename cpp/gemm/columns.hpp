// Which columns of a left operand meet packed weights.
#pragma once

#include <array>
#include <limits>

#include "core/types.hpp"

namespace rnncore {

// The columns k of the left operand that take part: up to two runs (GRU's tape keeps a slot that
// the recurrent product skips). The weights' k runs on across them. A sum is cut into pieces that
// are added up: a long sum of float32 loses less that way.
struct Columns {
  std::array<Index, 2> begin{}, size{};
  Index piece = std::numeric_limits<Index>::max();
  Index total() const { return size[0] + size[1]; }
};

}  // namespace rnncore
