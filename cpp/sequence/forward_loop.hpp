// The forward steps of a schedule: W x (and U on given values) merged over a chunk of steps, then
// the time loop. Forward runs all steps; backward runs a segment again where its gates were not
// kept.
#pragma once

#include <optional>

#include "sequence/fed_input.hpp"
#include "sequence/forward_step.hpp"
#include "sequence/input_weights.hpp"

namespace rnncore {

template <class Cell, class T>
class ForwardLoop {
 public:
  // `kept`: the panels may outlive the call.
  ForwardLoop(const LayerArgs<T>& args, const Schedule& schedule, bool kept = false)
      : a_(args),
        schedule_(schedule),
        chunk_(chunk_of(args, schedule)),
        x_(schedule, args.x, chunk_),
        fed_(schedule, args.fed, chunk_),
        step_(args, schedule, args.fed && !args.weight_hh ? chunk_ : args.sizes.batch),
        input_(args, schedule.rows(), chunk_, kept) {
    if (args.fed && args.weight_hh) fed_input_.emplace(args, schedule, chunk_);
  }

  // Packed weights, and what a call needs besides.
  void plan_panels(ArenaPlan& plan) {
    step_.plan_panels(plan);
    input_.plan_panels(plan);
  }
  void plan_scratch(ArenaPlan& plan, int threads) {
    step_.plan_scratch(plan, threads);
    input_.plan_scratch(plan, threads);
    if (fed_input_) fed_input_->plan(plan, threads);
    x_.plan(plan);
    fed_.plan(plan);
  }

  // Whether weights are read as they are, so that nothing is packed that could be kept.
  bool in_place() const { return step_.in_place() || input_.in_place(); }

  // Whether the panels of R are the tile unit's.
  bool on_tiles() const { return step_.on_tiles(); }

  // Rows of a chunk.
  Index chunk() const { return chunk_; }

  PassWork costs() const { return step_.costs(a_.sizes.input + (fed_input_ ? a_.sizes.fed : 0)); }

  // Called by every worker before the first `run`; `panels`: or are they there already?
  void pack(const Worker& worker, bool panels = true) {
    step_.pack(worker, panels);
    if (panels) input_.pack(worker);
  }

  // Called by every worker of the team, the state before the first step in place. `meet`: workers
  // need each other's units, so that they meet after each step.
  void run(const Worker& worker, const Share& mine, bool meet, Range steps,
           const ForwardResults<T>& to) {
    run(worker, steps, to, [&](Index step, T* z) {
      step_.run(mine, step, z, to);
      if (meet) worker.barrier();
    });
  }

  // The same, with time_step(step, z) in place of the layer's own steps.
  template <class F>
  void run(const Worker& worker, Range steps, const ForwardResults<T>& to, F&& time_step) {
    const TileScope tiles(step_.on_tiles());
    for (Index begin = steps.begin; begin < steps.end;) {
      const Index end = std::min(steps.end, schedule_.chunk_end(begin, chunk_));
      T* const z = to.gates + (to.all ? gates_before(begin) - gates_before(to.begin) : 0);
      worker.barrier();  // the last chunk's x and z are used up; before the first: all is packed
      const Matrix<const T> x = x_.at(worker, {begin, end}), fed = fed_.at(worker, {begin, end});
      if (x_.gathers() || fed_.gathers()) worker.barrier();
      input_.multiply(worker, x, z);
      worker.barrier();
      if (fed_input_) fed_input_->multiply(worker, fed, z);
      if (step_.given()) {
        step_.run_given(worker, {begin, end}, fed, z, to);
      } else {
        for (Index step = begin; step < end; ++step) {
          time_step(step, z + gates_before(step) - gates_before(begin));
        }
      }
      begin = end;
    }
    if (step_.given()) worker.barrier();  // others took some of this worker's units
  }

  // One step of the layer alone.
  void time_step(const Share& mine, Index step, T* z, const ForwardResults<T>& to) const {
    step_.run(mine, step, z, to);
  }

 private:
  static constexpr int slots = Wiring<Cell>::slots;

  Index gates_before(Index step) const { return schedule_.offset(step) * slots * a_.sizes.hidden; }

  static Index chunk_of(const LayerArgs<T>& args, const Schedule& schedule) {
    const Index row = checked_add(args.sizes.input, checked_mul(slots, args.sizes.hidden));
    return std::min(schedule.rows(), std::max(chunk_rows<T>(row), args.sizes.batch));
  }

  const LayerArgs<T>& a_;
  const Schedule& schedule_;
  const Index chunk_;
  InputRows<T> x_, fed_;
  ForwardStep<Cell, T> step_;
  InputWeights<Cell, T> input_;
  std::optional<FedInput<Cell, T>> fed_input_;
};

}  // namespace rnncore
