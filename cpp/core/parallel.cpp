// The thread count and what fork() does to it.
#include "core/parallel.hpp"

#include <algorithm>
#include <atomic>
#if defined(__unix__)
#include <pthread.h>
#endif

namespace rnncore {
namespace {

// Below this much work per thread waking it costs more than it saves.
constexpr Index work_per_thread = 100'000;

std::atomic<int> threads{0};  // 0: not asked for yet
std::atomic<bool> team_ran{false};
std::atomic<bool> pool_lost{false};

}  // namespace

int num_threads() {
  int n = threads.load(std::memory_order_relaxed);
  if (n == 0) {
    n = std::clamp(omp_get_max_threads(), 1, std::clamp(omp_get_num_procs(), 1, max_threads));
    threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void set_num_threads(int n) {
  threads.store(n, std::memory_order_relaxed);
}

int team_limit() {
  return pool_lost.load(std::memory_order_relaxed) ? 1 : num_threads();
}

int threads_for(Index work, Index items) {
  const Index worth = std::max<Index>(1, std::min(work / work_per_thread, items));
  return static_cast<int>(std::min<Index>(worth, team_limit()));
}

void note_team() {
#if defined(__unix__)
  if (team_ran.exchange(true, std::memory_order_relaxed)) return;
  pthread_atfork(nullptr, nullptr, [] { pool_lost.store(true, std::memory_order_relaxed); });
#endif
}

}  // namespace rnncore
