// What backward reads of forward where the tape keeps one state per segment: the segment's gates
// and states, computed again.
#pragma once

#include <algorithm>

#include "sequence/backward_loop.hpp"
#include "sequence/forward_loop.hpp"
#include "sequence/segments.hpp"

namespace rnncore {

template <class Cell, class T>
class Recomputation {
 public:
  Recomputation(const BackwardArgs<T>& args, const Schedule& schedule, const Segments& segments,
                const Partition& partition)
      : a_(args),
        BH_(checked_mul(args.sizes.batch, args.sizes.hidden)),
        schedule_(schedule),
        segments_(segments),
        partition_(partition),
        loop_(args, schedule) {}

  // The loop's arrays, and room for the longest segment.
  void plan(ArenaPlan& plan) {
    Index rows = 0, steps = 0;
    for (Index segment = 0; segment < segments_.count(); ++segment) {
      const auto [begin, end] = segments_.steps(segment);
      rows = std::max(rows, schedule_.offset(end) - schedule_.offset(begin));
      steps = std::max(steps, end - begin);
    }
    loop_.plan_panels(plan);
    loop_.plan_scratch(plan, partition_.threads());
    plan.array(gates_, checked_mul(rows, Wiring<Cell>::slots * a_.sizes.hidden));
    plan.array(h_, checked_mul(steps + 1, BH_));
    if (Cell::has_c) plan.array(c_, checked_mul(steps + 1, BH_));
  }

  // Called by every worker before the first `run`.
  void pack(const Worker& worker) { loop_.pack(worker); }

  // The forward steps of a segment, from the state that the tape keeps of it.
  Stretch<T> run(const Worker& worker, const Share& mine, Index segment) {
    const Range steps = segments_.steps(segment);
    worker.barrier();  // nobody reads the segment after this one any more
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index at = r * a_.sizes.hidden + unit, kept = segment * BH_ + at;
      std::copy_n(a_.h + kept, count, h_ + at);
      if (Cell::has_c) std::copy_n(a_.c + kept, count, c_ + at);
    });
    const ForwardResults<T> to{true, steps.begin, gates_, h_, c_, BH_, BH_, {}};
    loop_.run(worker, mine, partition_.splits_units(), steps, to);
    return {steps.begin, gates_, h_, c_};
  }

 private:
  const BackwardArgs<T>& a_;
  const Index BH_;
  const Schedule& schedule_;
  const Segments& segments_;
  const Partition& partition_;
  ForwardLoop<Cell, T> loop_;
  T *gates_ = nullptr, *h_ = nullptr, *c_ = nullptr;
};

}  // namespace rnncore
