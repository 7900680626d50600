// How parts are claimed, how helpers sleep and wake, and where they run.
#include "core/pool.hpp"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <new>

#include "core/waiting.hpp"

namespace rnncore {
namespace {

using namespace std::chrono_literals;

// How long a caller who was held up runs alone, at first and at most.
constexpr std::chrono::nanoseconds first_alone = 4ms, longest_alone = 64ms;

constexpr int mask_bits = 32;
static_assert(max_team <= mask_bits);

std::atomic<Pool*> the_pool{nullptr};

// The helpers did not survive the fork, nor did whoever had the pool: the child starts its own.
[[maybe_unused]] const int at_fork =
    pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });

}  // namespace

Pool* Pool::take() {
  Pool* pool = the_pool.load(std::memory_order_acquire);
  if (pool == nullptr) {
    std::unique_ptr<Pool> made(new (std::nothrow) Pool);
    if (the_pool.compare_exchange_strong(pool, made.get())) pool = made.release();
  }
  const bool others = pool == nullptr || pool->taken_.exchange(true, std::memory_order_acquire);
  return others ? nullptr : pool;
}

void Pool::grow(int threads) {
  if (started_ >= threads - 1) return;
  sigset_t all, before;  // signals are the user's threads'
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (; started_ < threads - 1; ++started_) {
    auto* const argument = new (std::nothrow) Start{this, started_ + 1};
    pthread_t& thread = helper(started_ + 1).thread;
    if (argument == nullptr || pthread_create(&thread, nullptr, &start, argument) != 0) {
      delete argument;
      break;
    }
    pthread_detach(thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void* Pool::start(void* argument) {
  const std::unique_ptr<Start> of(static_cast<Start*>(argument));
  pthread_setname_np(pthread_self(), "rnncore");
  const FlushDenormals flush;
  of->pool->help(of->thread);
  return nullptr;
}

// A helper's life.
void Pool::help(int thread) {
  Helper& self = helper(thread);
  const auto wanted = [&] {
    const std::uint64_t now = unclaimed_.load();
    return static_cast<std::uint32_t>(now) != 0 && thread < static_cast<int>(now >> mask_bits);
  };
  for (;;) {
    if (spin_until(wanted)) {
      wake(static_cast<int>(unclaimed_.load() >> mask_bits));
      take_parts(thread);
      continue;
    }
    self.asleep.store(1);
    if (wanted()) {  // since before that was written, so that nobody may have seen it
      self.asleep.store(0);
      continue;
    }
    while (self.asleep.load() == 1) sleep_while(self.asleep, 1);
  }
}

// Runs parts until none is left; how many.
int Pool::take_parts(int thread) {
  int count = 0;
  Helper& self = helper(thread);
  for (int rank; (rank = claim(thread)) >= 0; ++count) {
    self.busy.store(true, std::memory_order_relaxed);
    job_(Worker{rank, parts_, thread, watch_});
    self.busy.store(false, std::memory_order_relaxed);
    if (thread == 0) continue;
    done_.fetch_add(1);
    if (waiting_.load()) wake_sleeper(done_);
  }
  return count;
}

// A part that nobody else has, or -1: the thread's own first, so that it meets the same slice of
// the weights in every run.
int Pool::claim(int thread) {
  std::uint64_t now = unclaimed_.load(std::memory_order_acquire);
  for (;;) {
    const auto mask = static_cast<std::uint32_t>(now);
    const int threads = static_cast<int>(now >> mask_bits);
    if (mask == 0 || thread >= threads) return -1;
    int rank = std::countr_zero(mask);
    for (int own = thread; own < mask_bits; own += threads) {
      if ((mask >> own & 1) != 0) {
        rank = own;
        break;
      }
    }
    const std::uint64_t left = now & ~(std::uint64_t{1} << rank);
    if (unclaimed_.compare_exchange_weak(now, left, std::memory_order_acq_rel,
                                         std::memory_order_acquire)) {
      return rank;
    }
  }
}

// Wakes two of the helpers that sleep; these wake more.
void Pool::wake(int threads) {
  int left = 2;
  for (int thread = 1; thread < threads && left > 0; ++thread) {
    Helper& one = helper(thread);
    if (one.asleep.load() == 0 || one.asleep.exchange(0) == 0) continue;
    --left;
    // The system wakes a thread on the core that it is woken from, where it waits for the waker.
    cpu_set_t cpus;
    const int here = sched_getcpu();
    if (here >= 0 && here < CPU_SETSIZE && sched_getaffinity(0, sizeof cpus, &cpus) == 0) {
      CPU_CLR(here, &cpus);
      if (CPU_COUNT(&cpus) > 0) pthread_setaffinity_np(one.thread, sizeof cpus, &cpus);
    }
    wake_sleeper(one.asleep);
  }
}

// Until the helpers have finished so many parts; whether they held the caller up.
bool Pool::wait_for_helpers(int parts) {
  const auto ready = [&] { return done_.load(std::memory_order_acquire) == parts; };
  if (spin_until(ready)) return false;
  fetch_helpers();  // from now on their processor time must grow
  if (spin_until(ready)) return false;
  constexpr timespec between_looks{0, 200'000};
  bool held_up = false;
  waiting_.store(true);
  for (int now; (now = done_.load()) != parts;) {
    if (watch_ != nullptr) watch_->look();
    if (the_pool.load() != this) break;  // a signal's handler forked: nobody comes back
    held_up = fetch_helpers() || held_up;
    sleep_while(done_, now, &between_looks);
  }
  waiting_.store(false);
  return held_up;
}

// A helper that has a part, but whose processor time stands still, waits for a core that another
// program holds, for some milliseconds: it gets the caller's, who is about to sleep. Whether there
// is one.
bool Pool::fetch_helpers() {
  bool any = false;
  const int here = sched_getcpu();
  for (int thread = 1; thread <= started_; ++thread) {
    Helper& one = helper(thread);
    if (!one.busy.load(std::memory_order_relaxed)) continue;
    const std::chrono::nanoseconds ran = processor_time(one.thread);
    const bool stands = ran == one.ran;
    one.ran = ran;
    if (!stands || here < 0 || here >= CPU_SETSIZE) continue;
    any = true;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(here, &cpus);
    pthread_setaffinity_np(one.thread, sizeof cpus, &cpus);
  }
  return any;
}

// A team that was held up is not tried for a while: twice as long as the last time, if it was held
// up again before it had run for as long.
void Pool::note(bool was_held_up, std::chrono::nanoseconds took) {
  if (!was_held_up) {
    together_ += took;
    return;
  }
  alone_ = together_ < alone_ ? std::min(2 * alone_, longest_alone) : first_alone;
  alone_left_ = alone_;
  together_ = {};
}

void Pool::run(int threads, int parts, Watch* watch, FunctionRef<void(const Worker&)> job) {
  threads = std::min({threads, parts, started_ + 1});
  const Clock::time_point begin = Clock::now();
  if (threads == 1 || alone_left_ > 0ns) {
    for (int rank = 0; rank < parts; ++rank) job(Worker{rank, parts, 0, watch});
    alone_left_ -= Clock::now() - begin;
    return;
  }
  job_ = job;
  parts_ = parts;
  watch_ = watch;
  done_.store(0, std::memory_order_relaxed);
  const std::uint64_t all = (std::uint64_t{1} << parts) - 1;
  unclaimed_.store(static_cast<std::uint64_t>(threads) << mask_bits | all);
  wake(threads);
  const int others = parts - take_parts(0);
  const bool was_held_up = others > 0 && wait_for_helpers(others);
  note(was_held_up, Clock::now() - begin);
}

}  // namespace rnncore
