// What backward reads of forward where the tape keeps one state per segment: the segment's gates
// and states, computed again.
#pragma once

#include <algorithm>

#include "recurrence/layer/backward_loop.hpp"
#include "recurrence/layer/forward_loop.hpp"
#include "recurrence/plan/segments.hpp"

namespace rnncore {

template <class T>
class Recomputation {
 public:
  Recomputation(const BackwardArgs<T>& args, const Schedule& schedule, const Segments& segments,
                const Partition& partition)
      : a_(args),
        schedule_(schedule),
        segments_(segments),
        partition_(partition),
        loop_(args, schedule),
        tape_{.schedule = &schedule,
              .stride = args.state_strides(),
              .gates_per_row = args.gates_per_row()} {}

  // The loop's, and room for the longest segment.
  void plan(ArenaPlan& plan) {
    Index rows = 0, states = 0;
    for (Index segment = 0; segment < segments_.count(); ++segment) {
      const Range of = segments_.steps(segment);
      rows = std::max(rows, schedule_.count(of));
      states =
          std::max(states, schedule_.state_offset(of.end + 1) - schedule_.state_offset(of.begin));
    }
    loop_.plan_panels(plan);
    loop_.plan_scratch(plan, partition_.threads());
    plan.array(tape_.gates, checked_mul(rows, tape_.gates_per_row));
    for (std::size_t k = 0; k < a_.cell->states.size(); ++k) {
      plan.array(tape_.states[k], checked_mul(states, tape_.stride[k]));
    }
  }

  // Called for every part of a run that comes first.
  void pack(const Worker& worker) {
    loop_.pack_panels(worker);
    loop_.pack_units(worker);
  }

  // The forward steps of a segment, from the state that the tape keeps of it.
  BackwardTape<T> run(const Team& team, Index segment) const {
    TapeView<T> tape = tape_;
    tape.begin = segments_.steps(segment).begin;
    const Index H = a_.sizes.hidden, first = segments_.state_offset(segment);
    team.run(partition_.parts(), [&](const Worker& worker) {
      const Share mine = partition_.share(worker, schedule_, H, Simd<T>::width);
      const Range rows = schedule_.active(mine.rows, tape.begin);
      mine.for_units(rows, [&](Index r, Index unit, Index count) {
        for (std::size_t k = 0; k < a_.cell->states.size(); ++k) {
          std::copy_n(a_.tape.states[k] + (first + r) * H + unit, count,
                      tape.states[k] + r * H + unit);
        }
      });
    });
    loop_.run(team, partition_, segments_.steps(segment), tape);
    return tape;
  }

 private:
  const BackwardArgs<T>& a_;
  const Schedule& schedule_;
  const Segments& segments_;
  const Partition& partition_;
  ForwardLoop<T> loop_;
  TapeView<T> tape_;
};

}  // namespace rnncore
