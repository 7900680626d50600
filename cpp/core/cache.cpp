#include "core/cache.hpp"

#include <atomic>

#if defined(__unix__)
#include <unistd.h>
#endif

namespace rnncore {

// No lock, which a fork could leave taken: whoever comes first asks, and all get the same answer.
Index l2_bytes() {
  static std::atomic<long> known{0};
  long bytes = known.load(std::memory_order_relaxed);
  if (bytes == 0) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    if (bytes <= 0) bytes = 1 << 20;
    known.store(bytes, std::memory_order_relaxed);
  }
  return bytes;
}

}  // namespace rnncore
