// The forward steps of a schedule: W x (and U on known values) merged over a chunk of steps, then
// the time loop. Forward runs all steps; backward runs a segment again where its gates were not
// kept.
#pragma once

#include <optional>

#include "recurrence/layer/forward_step.hpp"
#include "recurrence/layer/input_weights.hpp"
#include "recurrence/layer/teacher_forcing.hpp"

namespace rnncore {

template <class T>
class ForwardLoop {
 public:
  // `y`: gets a copy of h, or empty. `kept`: the panels may outlive the call.
  ForwardLoop(const LayerArgs<T>& args, const Schedule& schedule, Sequence<T> y = {},
              bool kept = false);

  // The packed weights, and what a call needs besides.
  void plan_panels(ArenaPlan& plan);
  void plan_scratch(ArenaPlan& plan, int threads);

  // Whether weights are read as they are, so that nothing is packed that could be kept.
  bool in_place() const { return step_.in_place() || input_.in_place(); }

  // Whether the panels of R are the tile unit's.
  bool on_tiles() const { return step_.on_tiles(); }

  // Rows of a chunk.
  Index chunk() const { return chunk_; }

  PassWork costs() const {
    return step_.costs(a_.sizes.input + (teacher_forcing_ ? a_.sizes.fed : 0));
  }

  // Both are called for every part of a run that comes first; kept panels are not packed again.
  void pack_panels(const Worker& worker);
  void pack_units(const Worker& worker) { step_.pack_units(worker); }

  // All steps, the state before the first of them in place.
  void run(const Team& team, const Partition& partition, Range steps,
           const TapeView<T>& tape) const {
    if (partition.unit_parts() > 1 && step_.has_reset()) {
      return run(
          team, partition, steps, tape,
          [&](const Share& mine, Index step, T* z) { step_.reset_half(mine, step, z, tape); },
          [&](const Share& mine, Index step, T* z) { step_.cell_half(mine, step, z, tape); });
    }
    run(team, partition, steps, tape,
        [&](const Share& mine, Index step, T* z) { step_.run(mine, step, z, tape); });
  }

  // The same, with time_step(share, step, z) in place of the layer's own steps; of several, each is
  // a run of its own.
  template <class... F>
  void run(const Team& team, const Partition& partition, Range steps, const TapeView<T>& tape,
           const F&... time_steps) const {
    for (Index begin = steps.begin; begin < steps.end;) {
      const Range chunk{begin, std::min(steps.end, schedule_.chunk_end(begin, chunk_))};
      T* const z = tape.every_step ? tape.gates_at(begin) : tape.gates;
      merged_products(team, chunk, z);
      if (step_.decoupled()) {
        decoupled_steps(team, chunk, z, tape);
      } else {
        run_steps(team, partition, chunk, z, time_steps...);
      }
      begin = chunk.end;
    }
  }

  // One step of the layer alone; in a TileScope where it is on tiles.
  void time_step(const Share& mine, Index step, T* z, const TapeView<T>& tape) const {
    step_.run(mine, step, z, tape);
  }

 private:
  template <class... F>
  void run_steps(const Team& team, const Partition& partition, Range chunk, T* z,
                 const F&... time_steps) const {
    const Index some = partition.steps_of_run(chunk);
    for (Index begin = chunk.begin; begin < chunk.end; begin += some) {
      const auto run_one = [&](const auto& time_step) {
        team.run(partition.parts(), [&](const Worker& worker) {
          const TileScope tiles(step_.on_tiles());
          const Share mine = partition.share(worker, schedule_, a_.sizes.hidden, Simd<T>::width);
          Pace pace(worker, schedule_.rows() * a_.step_work());
          for (Index step = begin; step < begin + some && !pace.ends(); ++step) {
            time_step(mine, step, z + schedule_.count({chunk.begin, step}) * a_.gates_per_row());
          }
        });
      };
      (run_one(time_steps), ...);
    }
  }

  void decoupled_steps(const Team& team, Range chunk, T* z, const TapeView<T>& tape) const;

  // z of a chunk of steps as far as it follows from known values.
  void merged_products(const Team& team, Range chunk, T* z) const;

  const LayerArgs<T>& a_;
  const Schedule& schedule_;
  const Index chunk_;
  InputRows<T> x_, fed_;
  ForwardStep<T> step_;
  InputWeights<T> input_;
  std::optional<TeacherForcingInput<T>> teacher_forcing_;
};

extern template class ForwardLoop<float>;
extern template class ForwardLoop<double>;

}  // namespace rnncore
