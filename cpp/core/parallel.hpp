// Threads. The only header that knows OpenMP: everything else runs inside `parallel`.
#pragma once

#include <omp.h>

#include <atomic>
#include <thread>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "core/types.hpp"

namespace rnncore {

// Threads that a kernel may use. Starts at what OMP_NUM_THREADS and the CPU affinity allow.
int num_threads();
void set_num_threads(int threads);  // in [1, max_threads]

// More than any machine gains from; a team that the system cannot start would end the process.
inline constexpr int max_threads = 256;

// The threads that a call may use now: 1 in a child forked from a process that ran a team.
int team_limit();

// Threads worth waking for `work` units of about a nanosecond each (an element of a pointwise pass,
// or `multiply_adds_per_unit` of a product), at most `items` of them.
int threads_for(Index work, Index items);
inline constexpr Index multiply_adds_per_unit = 16;

// Remembers that a team ran: a child forked after that runs on one thread (its pool is gone).
void note_team();

// Part `part` of `parts` even parts of [0, count), cut at multiples of `grain`.
constexpr Range even_part(Index count, Index part, Index parts, Index grain = 1) {
  const Index units = ceil_div(count, grain);
  const auto cut = [&](Index i) {
    const Index at = units * i / parts * grain;
    return at < count ? at : count;
  };
  return {cut(part), cut(part + 1)};
}

// Where a team meets, every time step if need be. A waiting thread spins for microseconds; then it
// yields at every look, which lets the other thread run where both share a core; then it sleeps,
// which lets the system move that thread to the core where another program holds it up.
class Barrier {
 public:
  void wait(int size) {
    const int now = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(1 - now, std::memory_order_release);
      phase_.notify_all();
      return;
    }
    for (int look = 0; look < spins + yields; ++look) {
      if (phase_.load(std::memory_order_acquire) != now) return;
      look < spins ? pause() : std::this_thread::yield();
    }
    phase_.wait(now, std::memory_order_acquire);
  }

 private:
  static constexpr int spins = 200, yields = 200;

  static void pause() {
#if defined(__SSE2__)
    _mm_pause();
#endif
  }

  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> phase_{0};
};

// One worker's view of the team inside `parallel`.
struct Worker {
  int rank = 0, size = 1;
  Barrier* meeting = nullptr;

  void barrier() const {
    if (size > 1) meeting->wait(size);
  }

  Range share(Index count, Index grain = 1) const { return even_part(count, rank, size, grain); }
};

// Subnormals become zero while in scope (they slow some CPUs a hundredfold); then the caller's
// floating-point state is back.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

// Runs work(worker) on `threads` threads and returns when all are done. `work` must not throw.
template <class Work>
void parallel(int threads, Work&& work) {
  if (threads <= 1) {
    const FlushDenormals flush;
    work(Worker{});
    return;
  }
  note_team();
  Barrier meeting;
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
    work(Worker{omp_get_thread_num(), omp_get_num_threads(), &meeting});
  }
}

}  // namespace rnncore
