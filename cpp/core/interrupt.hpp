// How a long call ends early: its caller's thread asks now and then whether it shall, all of its
// threads leave their parts, and Team::run throws.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

#include "core/denormals.hpp"

namespace rnncore {

// Thrown where a call shall end. What it was about to assign is rubbish.
struct Interrupted {};

// Whether the call that runs on this thread shall end; set once, by who knows. Null: never.
using AsksToEnd = bool (*)();
inline std::atomic<AsksToEnd> asks_to_end{nullptr};

// Whether one call shall end. It is never asked in its first 50 ms.
class Watch {
 public:
  bool ends() const { return ends_.load(std::memory_order_relaxed); }

  // Asks, if that is due; for the caller's thread alone. Costs a look at the clock.
  void look() {
    const Clock::time_point now = Clock::now();
    if (due_ == Clock::time_point{}) due_ = now + between;
    if (now >= due_ && !ends()) ask(now);
  }

  // The same, after one run of many: each has little work that nobody counts.
  void after_run() {
    if (++runs_ % runs_between_looks == 0) look();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds between{50};
  static constexpr int runs_between_looks = 16;

  // To ask may take long, where others hold what it needs: a tenth of the time at most.
  [[gnu::noinline]] void ask(Clock::time_point begin) {
    const AsksToEnd asks = asks_to_end.load(std::memory_order_relaxed);
    const KeepDenormals keep;
    if (asks != nullptr && asks()) ends_.store(true, std::memory_order_relaxed);
    const Clock::time_point now = Clock::now();
    due_ = now + std::max<Clock::duration>(between, 10 * (now - begin));
  }

  std::atomic<bool> ends_{false};
  int runs_ = 0;
  Clock::time_point due_{};
};

}  // namespace rnncore
