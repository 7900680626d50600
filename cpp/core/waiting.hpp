// How a thread waits for another: it spins for microseconds, then sleeps.
#pragma once

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace rnncore {

// How long a thread looks for what it waits for before it sleeps: about what waking it costs.
inline constexpr std::chrono::microseconds patience{20};

inline void pause() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

// Spins until ready() or out of patience. Never yields: that would give a busy neighbour a whole
// time slice.
template <class F>
bool spin_until(const F& ready) {
  const auto end = std::chrono::steady_clock::now() + patience;
  do {
    for (int look = 0; look < 32; ++look) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// Sleeps while `word` is `value`, or less long. (std::atomic's own wait yields first.)
inline void sleep_while(std::atomic<int>& word, int value, const timespec* longest = nullptr) {
  static_assert(sizeof word == 4);
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, longest, nullptr, 0);
}
inline void wake_sleeper(std::atomic<int>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

inline std::chrono::nanoseconds processor_time(pthread_t thread) {
  clockid_t clock{};
  timespec now{};
  if (pthread_getcpuclockid(thread, &clock) != 0) return {};
  clock_gettime(clock, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace rnncore
