// How many threads a call may use, and its team.
#include "core/parallel.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdlib>
#include <thread>

#include "core/pool.hpp"

namespace rnncore {
namespace {

// Below this much work per thread waking it costs more than it saves.
constexpr Index work_per_thread = 100'000;

// OMP_NUM_THREADS: a number, or a list of which the first counts. 0: none that says how many.
long asked_for() {
  const char* const text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long threads = std::strtol(text, &end, 10);
  while (std::isspace(static_cast<unsigned char>(*end)) != 0) ++end;
  return threads > 0 && (*end == '\0' || *end == ',') ? threads : 0;
}

int at_first() {
  cpu_set_t cpus;
  long threads = sched_getaffinity(0, sizeof cpus, &cpus) == 0
                     ? CPU_COUNT(&cpus)
                     : static_cast<long>(std::thread::hardware_concurrency());
  if (const long asked = asked_for(); asked > 0) threads = std::min(threads, asked);
  return static_cast<int>(std::clamp<long>(threads, 1, max_threads));
}

std::atomic<int> threads{at_first()};

}  // namespace

int num_threads() {
  return threads.load(std::memory_order_relaxed);
}

void set_num_threads(int n) {
  threads.store(n, std::memory_order_relaxed);
}

int threads_for(Index work, Index items) {
  const Index worth = std::max<Index>(1, std::min(work / work_per_thread, items));
  return static_cast<int>(std::min<Index>({worth, num_threads(), max_team}));
}

void Team::take_helpers(int threads) {
  pool_ = Pool::take();
  if (pool_ == nullptr) return;
  threads_ = std::min(threads, max_team);
  pool_->grow(threads_);
}

void Team::give_back() {
  pool_->give_back();
}

void Team::share_out(int parts, FunctionRef<void(const Worker&)> f) const {
  pool_->run(threads_, parts, watch_, f);
}

void Team::end() {
  throw Interrupted{};
}

}  // namespace rnncore
