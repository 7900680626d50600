// The backward time steps of a layer: the gates become their gradients dz, the product dz R of the
// step after with the cell on its sums.
#pragma once

#include <optional>

#include "gemm/packed_weights.hpp"
#include "recurrence/layer/layer.hpp"
#include "recurrence/layer/reset_step.hpp"
#include "recurrence/layer/zoneout.hpp"
#include "recurrence/plan/partition.hpp"
#include "recurrence/plan/rows.hpp"
#include "recurrence/plan/tape_view.hpp"

namespace rnncore {

// The tape as backward reads it: gates are overwritten, states only read.
template <class T>
using BackwardTape = TapeView<T, const T>;

// What the loop leaves of the rows of a chunk for the merged gradients, besides dz.
template <class T>
struct ChunkRows {
  const T* dunit = nullptr;  // (rows, P*H): what they add to the gradients of unit parameters
  const T* q = nullptr;      // (rows, H): what R met in place of h, of a cell that has it
};

template <class T>
class BackwardLoop {
 public:
  // `chunk`: rows of the steps between two calls of the merged gradients.
  BackwardLoop(const BackwardArgs<T>& args, const Schedule& schedule, Index chunk);

  void plan(ArenaPlan& plan, int threads);

  bool on_tiles() const {
    return (weights_ && weights_->on_tiles()) || (reset_ && reset_->on_tiles());
  }

  // `merged`: columns that the gates meet besides, in the products merged over time.
  PassWork costs(Index merged) const {
    const Index depth = weights_ ? cell_.gates * H_ : 0;
    PassWork work = pass_work<T>(schedule_, panels_, depth, depth + cell_.gates * merged);
    if (reset_) work.meetings = 2;
    return work;
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

  // Whether the cell has two products. The halves of its time step are then these; threads that
  // split units meet between them.
  bool has_reset() const { return reset_.has_value(); }
  void cell_half(const Share& mine, Index step, Range chunk, const BackwardTape<T>& tape,
                 const T* dy = nullptr) const;
  void reset_half(const Share& mine, Index step, Range chunk, const BackwardTape<T>& tape) const;

  // Completes d_ of h with what reaches the state before `step` through R.
  void state_before(const Share& mine, Index step, const BackwardTape<T>& tape) const;

  // Of the chunk at hand.
  ChunkRows<T> chunk_rows() const { return {dunit_, reset_ ? reset_->q() : nullptr}; }

 private:
  BackwardArrays<T> arrays_at(Index first, Index step, Range chunk, const BackwardTape<T>& tape,
                              const T* dy) const;

  // That of `cell_half` with zoneout or a recurrent mask: the product is added to d_ before the
  // cell.
  void regularised_half(const Share& mine, Index step, Range chunk, const BackwardTape<T>& tape,
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
  std::optional<ResetBackward<T>> reset_;
  StepLayout<T> layout_;
  States<T*> d_{};  // (R, H)
  T* dunit_ = nullptr;
};

extern template class BackwardLoop<float>;
extern template class BackwardLoop<double>;

}  // namespace rnncore
