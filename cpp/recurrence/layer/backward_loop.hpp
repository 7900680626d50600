// The backward time steps of a layer: the gates become their gradients dz, the product dz R of the
// step after with the cell on its sums.
#pragma once

#include <optional>

#include "gemm/packed_weights.hpp"
#include "recurrence/layer/layer.hpp"
#include "recurrence/layer/zoneout.hpp"
#include "recurrence/plan/partition.hpp"
#include "recurrence/plan/rows.hpp"
#include "recurrence/plan/tape_view.hpp"

namespace rnncore {

// Columns of dz that meet R, in the order of its rows.
Columns recurrent_columns(const CellInfo& cell, Index hidden);

// The tape as backward reads it: gates are overwritten, states only read.
template <class T>
using BackwardTape = TapeView<T, const T>;

template <class T>
class BackwardLoop {
 public:
  // `chunk`: rows of the steps between two calls of the merged gradients.
  BackwardLoop(const BackwardArgs<T>& args, const Schedule& schedule, Index chunk);

  void plan(ArenaPlan& plan, int threads);

  bool on_tiles() const { return weights_ && weights_->on_tiles(); }

  // `merged`: columns that the gates meet besides, in the products merged over time.
  PassWork costs(Index merged) const {
    const Index depth = weights_ ? cell_.gates * H_ : 0;
    return pass_work<T>(schedule_, panels_, depth, depth + cell_.gates * merged);
  }

  // Called for every part of a run before the first step.
  void pack(const Worker& worker);
  void load_state(const Share& mine) const;
  // When nobody adds to d_ any more; a worker takes some `sequences`.
  void store_state(Range sequences) const;

  // d_ arrives with what reaches the states after `step` from later steps but through R; at the
  // last step of a chunk with all of it. `dy`: (R, H) in the schedule's order, in place of the
  // arguments' dy, or null.
  void time_step(const Share& mine, Index step, Range chunk, const BackwardTape<T>& tape,
                 const T* dy = nullptr) const;

  // Completes d_ of h with what reaches the state before `step` through R.
  void state_before(const Share& mine, Index step, const BackwardTape<T>& tape) const;

  // What the rows of the chunk at hand add to the gradients of the unit parameters (rows, P*H).
  const T* unit_gradients() const { return dunit_; }

 private:
  BackwardArrays<T> arrays_at(Index first, Index step, Range chunk, const BackwardTape<T>& tape,
                              const T* dy) const;

  // A time step with zoneout or a recurrent mask: the product is added to d_ before the cell.
  void regularised_step(const Share& mine, Index step, Range chunk, const BackwardTape<T>& tape,
                        const T* dy) const;

  // The product dz R of some rows at `step`, its tiles to f.
  void recurrent_product(const Share& mine, Range rows, Index step, const BackwardTape<T>& tape,
                         const BlockSums<T>& f) const;

  const BackwardArgs<T>& a_;
  const CellInfo& cell_;
  const TileFunction<T> pointwise_;
  const std::size_t states_;
  const Index H_, chunk_, panels_;
  const Schedule& schedule_;
  const StepRows<const T> dy_;
  ZoneoutStep<T> zoneout_;
  std::optional<PackedWeights<T>> weights_;
  StepLayout<T> layout_;
  States<T*> d_{};  // (R, H)
  T* dunit_ = nullptr;
};

extern template class BackwardLoop<float>;
extern template class BackwardLoop<double>;

}  // namespace rnncore
