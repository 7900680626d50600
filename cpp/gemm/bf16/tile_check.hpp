// The check that a variant with a tile unit passes before it is used.
#pragma once

#include <optional>
#include <string>

namespace rnncore {

// Runs every kernel of the tile unit on a small problem and compares all bits with the same kernels
// on software tiles. What differs first, empty if nothing does; nullopt without a tile unit.
// For the tests, the variant amx_emulated plants the fault that RNNCORE_TILE_FAULT names
// (faulty_tiles.hpp).
std::optional<std::string> tile_unit_fault();

}  // namespace rnncore
