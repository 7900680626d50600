// Threads, as everything else sees them: a call runs on one thread, its own; where there is work
// for more, it hands out parts of it with Team::run.
#pragma once

#include "core/function_ref.hpp"
#include "core/types.hpp"
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace rnncore {

// Threads that a kernel may use. Starts at what OMP_NUM_THREADS and the CPU affinity allow.
int num_threads();
void set_num_threads(int threads);  // in [1, max_threads]

inline constexpr int max_threads = 256;
// Those that one call uses at most, and the parts of one run.
inline constexpr int max_team = 32;

// Threads worth waking for `work` units of about a nanosecond each (an element of a pointwise pass,
// or `multiply_adds_per_unit` of a product), at most `items` of them.
int threads_for(Index work, Index items);
inline constexpr Index multiply_adds_per_unit = 16;

// Part `part` of `parts` even parts of [0, count), cut at multiples of `grain`.
constexpr Range even_part(Index count, Index part, Index parts, Index grain = 1) {
  const Index units = ceil_div(count, grain);
  const auto cut = [&](Index i) {
    const Index at = units * i / parts * grain;
    return at < count ? at : count;
  };
  return {cut(part), cut(part + 1)};
}

// One part of a run: which of how many, and who runs it. Whatever a part writes follows from its
// rank; scratch memory belongs to the thread.
struct Worker {
  int rank = 0, size = 1;
  int thread = 0;  // in [0, Team::threads())

  Range share(Index count, Index grain = 1) const { return even_part(count, rank, size, grain); }
};

class Pool;

// The threads of a call: the caller, and helpers that come when they can. Nobody waits for a helper
// that has not come.
class Team {
 public:
  // Where another call has the helpers, this one runs alone: its caller is a thread beside others.
  explicit Team(int threads) {
    if (threads > 1) take_helpers(threads);
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() {
    if (pool_ != nullptr) give_back();
  }

  int threads() const { return threads_; }

  // Calls f(worker) once for each part, whoever is free the next one, and returns when all are
  // done. At most max_team parts. `f` must not throw.
  template <class F>
  void run(int parts, const F& f) const {
    if (pool_ != nullptr && parts > 1) return share_out(parts, f);
    for (int rank = 0; rank < parts; ++rank) f(Worker{rank, parts, 0});
  }

 private:
  void take_helpers(int threads);
  void give_back();
  void share_out(int parts, FunctionRef<void(const Worker&)> f) const;

  Pool* pool_ = nullptr;  // of which this call has the helpers, or null
  int threads_ = 1;
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

// Calls work(team) with a team of at most so many threads.
template <class Work>
void parallel(int threads, const Work& work) {
  const FlushDenormals flush;
  work(Team(threads));
}

// One run of so many parts, on as many threads at most.
template <class F>
void parallel_parts(int parts, const F& f) {
  parallel(parts, [&](const Team& team) { team.run(parts, f); });
}

}  // namespace rnncore
