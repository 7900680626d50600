// What each variant has of its own; the rest of bind/ is compiled once for all of them, for the
// weakest instruction set (it calls kernels, and no packet passes through it).
#pragma once

namespace rnncore {

// Tells the variants' weight caches apart: panels of one are not those of another.
extern const char* const weight_cache_name;

}  // namespace rnncore
