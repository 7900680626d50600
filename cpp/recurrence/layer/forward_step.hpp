// One forward time step of a layer: the recurrent product on packed weights, with the cell on each
// register tile's sums.
#pragma once

#include <optional>

#include "gemm/packed_weights.hpp"
#include "recurrence/layer/recurrent_operand.hpp"
#include "recurrence/layer/reset_step.hpp"
#include "recurrence/layer/zoneout.hpp"
#include "recurrence/plan/partition.hpp"
#include "recurrence/plan/rows.hpp"
#include "recurrence/plan/tape_view.hpp"

namespace rnncore {

template <class T>
class ForwardStep {
 public:
  // `rows`: those of a product at most. `y`: gets a copy of h, or empty. Which kernel runs follows
  // from the whole problem: a segment gets the bits of the full pass.
  ForwardStep(const LayerArgs<T>& args, const Schedule& schedule, Index rows, Sequence<T> y = {});

  // Whether a step needs of the one before the cell's own state alone: `run_decoupled`.
  bool decoupled() const { return a_.fed && !a_.weights.weight_hh; }

  // The packed weights, and what a call needs besides.
  void plan_panels(ArenaPlan& plan);
  void plan_scratch(ArenaPlan& plan, int threads);

  // Whether weights are read as they are, so that nothing is packed that could be kept.
  bool in_place() const { return !weights_ || weights_->in_place(); }

  // Whether the panels are the tile unit's.
  bool on_tiles() const {
    return (weights_ && weights_->on_tiles()) || (reset_ && reset_->on_tiles());
  }

  // `input`: columns of W.
  PassWork costs(Index input) const {
    const Index gates = cell_.gates;
    PassWork work = pass_work<T>(schedule_, panels_, gates * operand_.depth(), gates * input);
    if (reset_) work.meetings = 2;
    return work;
  }

  // Both are called for every part of a run, each fills its share; kept panels are not packed
  // again.
  void pack_panels(const Worker& worker);
  void pack_units(const Worker& worker);  // the biases and the unit parameters

  // `z`: pre-activations, then activated gates, of the rows at `step`.
  void run(const Share& mine, Index step, T* z, const TapeView<T>& tape) const {
    if (reset_) reset_half(mine, step, z, tape);
    cell_half(mine, step, z, tape);
  }

  // Whether the cell has two products. `run` is then these; threads that split units meet between
  // them.
  bool has_reset() const { return reset_.has_value(); }
  void reset_half(const Share& mine, Index step, T* z, const TapeView<T>& tape) const;
  void cell_half(const Share& mine, Index step, T* z, const TapeView<T>& tape) const;

  // Some steps at once where they are decoupled: one product over all their rows of `fed`. A worker
  // takes its panels, in which rows come in the order of time.
  void run_decoupled(const Worker& worker, Range steps, Matrix<const T> fed, T* z,
                     const TapeView<T>& tape) const;

 private:
  T bias(int slot, Index unit) const;

  // The arrays of `step` from row `first` on; `z` of its row 0.
  ForwardArrays<T> arrays_at(Index first, Index step, T* z, const TapeView<T>& tape) const;

  // What R meets of some rows: [h | f] of the step before or a part of it, or h times the recurrent
  // mask.
  RowsAt<T> operand_rows(const Share& mine, Range rows, Index step, const TapeView<T>& tape) const;

  // Of some rows h of the step before, times the recurrent mask: (rows, H).
  const T* masked_rows(const Share& mine, Range rows, Index step, const TapeView<T>& tape) const;

  const LayerArgs<T>& a_;
  const CellInfo& cell_;
  const TileFunction<T> pointwise_;
  const Index H_, panels_;
  const Schedule& schedule_;
  const RecurrentOperand<T> operand_;
  const StepRows<T> y_;
  const ZoneoutStep<T> zoneout_;
  StepLayout<T> layout_;
  std::optional<ResetStep<T>> reset_;
  std::optional<PackedWeights<T>> weights_;  // of the product that completes z
  Index gates_ = 0;                          // of theirs
  T* masked_ = nullptr;                      // (threads, R, H)
};

extern template class ForwardStep<float>;
extern template class ForwardStep<double>;

}  // namespace rnncore
