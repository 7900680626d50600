// The halves of ResetStep and ResetBackward.
#include "recurrence/layer/reset_step.hpp"

#include "recurrence/layer/recurrent_columns.hpp"

namespace rnncore {

template <class T>
ResetStep<T>::ResetStep(const LayerArgs<T>& args, Matrix<const T> weights, const LoopRows& rows)
    : cell_(*args.cell),
      pointwise_(args.kernels().reset.forward),
      H_(args.sizes.hidden),
      depth_(weights.cols),
      rows_(rows.at_once),
      weights_(WeightLayout<T>::by_rows_of(rows_on_h(cell_, weights, H_), cell_.wiring.count('h')),
               rows, args.precision) {}

template <class T>
void ResetStep<T>::plan_scratch(ArenaPlan& plan, int threads) {
  weights_.plan_scratch(plan, threads);
  plan.array(q_, checked_mul(rows_, depth_));
}

template <class T>
void ResetStep<T>::run(const Share& mine, Range rows, Index step, const StepLayout<T>& layout, T* z,
                       RowsAt<T> h) const {
  T* const own = q_ + rows.begin * depth_;
  const ResetArrays<T> at{.layout = &layout,
                          .sums_step = cell_.wiring.count('h') * Simd<T>::width,
                          .z = z,
                          .h = h.data,
                          .h_stride = h.stride,
                          .q = own,
                          .q_stride = depth_};
  weights_.multiply(mine.thread, h.data, h.stride, rows.size(), mine.panels, step % 2 != 0,
                    {pointwise_, &at});
  for (Index r = 0; r < rows.size() && depth_ > H_; ++r) {
    std::copy_n(h.data + r * h.stride + H_, depth_ - H_, own + r * depth_ + H_);
  }
}

template <class T>
ResetBackward<T>::ResetBackward(const LayerArgs<T>& args, const Schedule& schedule, Index chunk)
    : pointwise_(args.kernels().reset.backward),
      H_(args.sizes.hidden),
      chunk_(chunk),
      weights_(WeightLayout<T>::by_columns_of(rows_on_q(*args.cell, args.weights.weight_hh, H_),
                                              recurrent_columns(*args.cell, H_, 'q')),
               LoopRows{.at_once = schedule.rows()}, args.precision) {
  if (!args.recurrent_mask) return;
  for (Index r = 0; r < schedule.rows(); ++r) {
    mask_offsets_.push_back(schedule.sequence(r) * args.recurrent_mask.stride);
  }
  mask_.data = args.recurrent_mask.data;
}

template <class T>
void ResetBackward<T>::plan(ArenaPlan& plan, int threads) {
  weights_.plan_panels(plan);
  weights_.plan_scratch(plan, threads);
  plan.array(q_, checked_mul(chunk_, H_));
}

template <class T>
void ResetBackward<T>::run(const Share& mine, Range rows, Index step, Index row,
                           const StepLayout<T>& layout, const TapeView<T, const T>& tape,
                           T* dh) const {
  T* const gates = tape.gates_at(step) + rows.begin * tape.gates_per_row;
  ResetBackwardArrays<T> at{.layout = &layout,
                            .gates = gates,
                            .h = tape.before(0, step) + rows.begin * layout.stride[0],
                            .mask = mask_,
                            .dh = dh + rows.begin * H_,
                            .q = q_ + row * H_};
  if (mask_) at.mask.offsets = mask_offsets_.data() + rows.begin;
  weights_.multiply(mine.thread, gates, tape.gates_per_row, rows.size(), mine.panels, step % 2 != 0,
                    {pointwise_, &at});
}

template class ResetStep<float>;
template class ResetStep<double>;
template class ResetBackward<float>;
template class ResetBackward<double>;

}  // namespace rnncore
