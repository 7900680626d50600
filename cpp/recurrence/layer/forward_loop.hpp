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

  // Both are called by every worker before the first `run`; kept panels are not packed again.
  void pack_panels(const Worker& worker);
  void pack_units(const Worker& worker) { step_.pack_units(worker); }

  // Called by every worker of the team, the state before the first step in place. `meet`: workers
  // need each other's units, so that they meet after each step.
  void run(const Worker& worker, const Share& mine, bool meet, Range steps,
           const TapeView<T>& tape) const;

  // The same, with time_step(step, z) in place of the layer's own steps.
  template <class F>
  void run(const Worker& worker, Range steps, const TapeView<T>& tape, F&& time_step) const {
    const TileScope tiles(step_.on_tiles());
    for (Index begin = steps.begin; begin < steps.end;) {
      const Range chunk{begin, std::min(steps.end, schedule_.chunk_end(begin, chunk_))};
      T* const z = tape.every_step ? tape.gates_at(schedule_, begin) : tape.gates;
      const Matrix<const T> fed = merged_products(worker, chunk, z);
      if (step_.decoupled()) {
        step_.run_decoupled(worker, chunk, fed, z, tape);
      } else {
        for (Index step = begin; step < chunk.end; ++step) {
          time_step(step, z + schedule_.count({begin, step}) * a_.gates_per_row());
        }
      }
      begin = chunk.end;
    }
    if (step_.decoupled()) worker.barrier();  // others took some of this worker's units
  }

  // One step of the layer alone.
  void time_step(const Share& mine, Index step, T* z, const TapeView<T>& tape) const {
    step_.run(mine, step, z, tape);
  }

 private:
  // z of a chunk of steps as far as it follows from known values, which are returned.
  Matrix<const T> merged_products(const Worker& worker, Range chunk, T* z) const;

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
