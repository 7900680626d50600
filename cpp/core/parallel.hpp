// Threads, as everything else sees them: a call runs on one thread, its own; where there is work
// for more, it hands out parts of it with Team::run.
#pragma once

#include "core/denormals.hpp"
#include "core/function_ref.hpp"
#include "core/interrupt.hpp"
#include "core/types.hpp"

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
  int thread = 0;          // in [0, Team::threads()); 0 is the caller's
  Watch* watch = nullptr;  // null: the call runs to its end

  Range share(Index count, Index grain = 1) const { return even_part(count, rank, size, grain); }

  // Whether the call ends early: the part may then leave the rest undone. Costs a look at the
  // clock.
  bool ends() const {
    if (watch == nullptr) return false;
    if (thread == 0) watch->look();
    return watch->ends();
  }
};

// The same for a loop of short steps, of so many multiply-adds each: asks after some of them.
class Pace {
 public:
  Pace(const Worker& worker, Index work)
      : worker_(worker), every_(1 + between_looks / (work + 1)), left_(every_) {}

  bool ends() {
    if (--left_ > 0) return false;
    const bool ends = worker_.ends();
    left_ = ends ? 1 : every_;
    return ends;
  }

 private:
  static constexpr Index between_looks = 4'000'000;

  const Worker& worker_;
  const Index every_;
  Index left_;
};

class Pool;

// The threads of a call: the caller, and helpers that come when they can. Nobody waits for a helper
// that has not come.
class Team {
 public:
  // Where another call has the helpers, this one runs alone: its caller is a thread beside others.
  explicit Team(int threads, Watch* watch = nullptr) : watch_(watch) {
    if (threads > 1) take_helpers(threads);
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() {
    if (pool_ != nullptr) give_back();
  }

  int threads() const { return threads_; }

  // Calls f(worker) once for each part, whoever is free the next one, and returns when all are
  // done; throws Interrupted if the call shall end. At most max_team parts. `f` must not throw.
  template <class F>
  void run(int parts, const F& f) const {
    if (pool_ != nullptr && parts > 1) {
      share_out(parts, f);
    } else {
      for (int rank = 0; rank < parts; ++rank) f(Worker{rank, parts, 0, watch_});
    }
    if (watch_ == nullptr) return;
    watch_->after_run();
    if (watch_->ends()) end();
  }

 private:
  [[noreturn]] static void end();
  void take_helpers(int threads);
  void give_back();
  void share_out(int parts, FunctionRef<void(const Worker&)> f) const;

  Pool* pool_ = nullptr;  // of which this call has the helpers, or null
  int threads_ = 1;
  Watch* const watch_;
};

// Whether a call may end early, with Interrupted, or runs to its end.
enum class Interruptible { yes, no };

// Calls work(team) with a team of at most so many threads.
template <class Work>
void parallel(int threads, const Work& work, Interruptible may = Interruptible::yes) {
  const FlushDenormals flush;
  Watch watch;
  work(Team(threads, may == Interruptible::yes ? &watch : nullptr));
}

// One run of so many parts, on as many threads at most; to its end.
template <class F>
void parallel_parts(int parts, const F& f) {
  parallel(parts, [&](const Team& team) { team.run(parts, f); }, Interruptible::no);
}

}  // namespace rnncore
