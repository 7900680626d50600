// The threads that help: started when they are first needed, asleep between calls, never ended.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>

#include "core/parallel.hpp"

namespace rnncore {

class Pool {
 public:
  // The process's pool, for one call at a time; null where another has it.
  static Pool* take();
  void give_back() { taken_.store(false, std::memory_order_release); }

  // Starts the helpers of a team that are not there yet, as many as the system can.
  void grow(int threads);

  // Runs all parts, on `threads` threads at most; called by the thread that took the pool.
  void run(int threads, int parts, Watch* watch, FunctionRef<void(const Worker&)> job);

 private:
  using Clock = std::chrono::steady_clock;

  struct alignas(64) Helper {
    std::atomic<int> asleep{0};
    std::atomic<bool> busy{false};  // with a part
    pthread_t thread{};
    std::chrono::nanoseconds ran{};  // its processor time when the caller last looked
  };
  struct Start {
    Pool* pool;
    int thread;
  };

  static void* start(void* argument);
  Helper& helper(int thread) { return helpers_[static_cast<std::size_t>(thread)]; }
  void help(int thread);
  int take_parts(int thread);
  int claim(int thread);
  void wake(int threads);
  bool wait_for_helpers(int parts);
  bool fetch_helpers();
  void note(bool was_held_up, std::chrono::nanoseconds took);

  // Those of the run at hand that nobody has taken, as a mask, and the threads that may take them
  // above it. Whoever clears a bit has that part, and only then reads the rest: until that part is
  // done, nothing here changes.
  alignas(64) std::atomic<std::uint64_t> unclaimed_{0};
  FunctionRef<void(const Worker&)> job_{nullptr, nullptr};
  int parts_ = 0;
  Watch* watch_ = nullptr;

  alignas(64) std::atomic<int> done_{0};  // parts that helpers have finished
  std::atomic<bool> waiting_{false};      // the caller sleeps until all are

  alignas(64) std::atomic<bool> taken_{false};
  int started_ = 0;  // helpers

  // After a team was held up: how long the caller runs alone, what is left of that, and how long
  // the team has run since. All in time of runs: pauses prove nothing.
  std::chrono::nanoseconds alone_{}, alone_left_{}, together_{};

  std::array<Helper, max_team> helpers_{};  // by thread; the caller, 0, is none
};

}  // namespace rnncore
