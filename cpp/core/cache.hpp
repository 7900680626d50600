// How large this machine's caches are.
#pragma once

#include "core/types.hpp"

namespace rnncore {

// Bytes of a core's second-level cache; 1 MB where the system does not say.
Index l2_bytes();

}  // namespace rnncore
