// The other half of a time step whose cell makes R meet q in place of h, such as q = r * h: forward
// in front of the product R q, backward behind the rest of the step. R q needs q of all units, and
// what comes back to q needs dz of all: threads that split units meet between the halves.
#pragma once

#include <vector>

#include "gemm/packed_weights.hpp"
#include "recurrence/layer/layer.hpp"
#include "recurrence/plan/partition.hpp"
#include "recurrence/plan/rows.hpp"
#include "recurrence/plan/tape_view.hpp"

namespace rnncore {

// The rows of R, or [R | U], whose gates meet h; all of them where no cell's gate meets q.
template <class T>
Matrix<const T> rows_on_h(const CellInfo& cell, Matrix<const T> weights, Index hidden) {
  return {weights.data, cell.wiring.count('h') * hidden, weights.cols, weights.stride};
}
// Those whose gates meet q.
template <class T>
Matrix<const T> rows_on_q(const CellInfo& cell, Matrix<const T> weights, Index hidden) {
  return {weights.row(cell.wiring.count('h') * hidden), cell.wiring.count('q') * hidden,
          weights.cols, weights.stride};
}

// Consecutive rows, `stride` elements apart.
template <class T>
struct RowsAt {
  const T* data;
  Index stride;
};

// Forward: z of the slots that meet h become gates, and q.
template <class T>
class ResetStep {
 public:
  // `weights`: R, or [R | U]; `rows` as for ForwardStep's own.
  ResetStep(const LayerArgs<T>& args, Matrix<const T> weights, const LoopRows& rows);

  bool on_tiles() const { return weights_.on_tiles(); }
  void plan_panels(ArenaPlan& plan) { weights_.plan_panels(plan); }
  void plan_scratch(ArenaPlan& plan, int threads);
  void pack_panels(Range panels) { weights_.pack(panels); }

  // Some `rows` of a step, whose pre-activations begin at z and states, as R meets them, at h.
  void run(const Share& mine, Range rows, Index step, const StepLayout<T>& layout, T* z,
           RowsAt<T> h) const;

  // What it left: [q | f] from row `first` on, f that of [h | f].
  RowsAt<T> q(Index first) const { return {q_ + first * depth_, depth_}; }

 private:
  const CellInfo& cell_;
  const TileFunction<T> pointwise_;
  const Index H_, depth_, rows_;
  PackedWeights<T> weights_;
  T* q_ = nullptr;  // (rows, depth)
};

// Backward: dz of the slots that meet q becomes that of the others, as far as it comes through q.
template <class T>
class ResetBackward {
 public:
  // `chunk`: rows of the steps between two calls of the merged gradients.
  ResetBackward(const LayerArgs<T>& args, const Schedule& schedule, Index chunk);

  bool on_tiles() const { return weights_.on_tiles(); }
  void plan(ArenaPlan& plan, int threads);
  void pack(Range panels) { weights_.pack(panels); }

  // Some `rows` of a step; `row`: where they begin among the chunk's. Adds to dh (R, H).
  void run(const Share& mine, Range rows, Index step, Index row, const StepLayout<T>& layout,
           const TapeView<T, const T>& tape, T* dh) const;

  // q of the rows of the chunk at hand: (rows, H).
  const T* q() const { return q_; }

 private:
  const TileFunction<T> pointwise_;
  const Index H_, chunk_;
  PackedWeights<T> weights_;
  ScatteredRows<const T> mask_;
  std::vector<Index> mask_offsets_;
  T* q_ = nullptr;
};

extern template class ResetStep<float>;
extern template class ResetStep<double>;
extern template class ResetBackward<float>;
extern template class ResetBackward<double>;

}  // namespace rnncore
