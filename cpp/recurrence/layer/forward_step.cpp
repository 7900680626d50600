// The steps of ForwardStep.
#include "recurrence/layer/forward_step.hpp"

#include "recurrence/layer/unit_parameters.hpp"

namespace rnncore {
namespace {

// A packet of each gate: what R h is where there is no R.
template <class T>
alignas(64) constexpr T no_sums[Wiring::max_slots * Simd<T>::width] = {};

}  // namespace

template <class T>
ForwardStep<T>::ForwardStep(const LayerArgs<T>& args, const Schedule& schedule, Index rows,
                            Sequence<T> y)
    : a_(args),
      cell_(*args.cell),
      pointwise_(args.kernels().forward),
      H_(args.sizes.hidden),
      panels_(panel_count<T>(H_)),
      schedule_(schedule),
      operand_(args),
      y_(schedule, y),
      zoneout_(args, schedule) {
  layout_.hidden = H_;
  layout_.choice = args.chosen();
  for (std::size_t k = 0; k < cell_.states.size(); ++k) layout_.stride[k] = args.state_stride(k);
  // With R, values fed back that are known leave U's part in z.
  layout_.whole_z = args.fed && args.weights.weight_hh;
  if (!operand_) return;
  const LoopRows meeting{.at_once = rows,
                         .total = schedule.valid_steps(),
                         .batch_invariant = args.batch_invariant,
                         .gemv_depth = H_};
  const bool reset = cell_.wiring.has_reset();
  assert(!reset || args.weights.weight_hh);
  gates_ = reset ? cell_.wiring.count('q') : cell_.gates;
  if (reset) reset_.emplace(args, operand_.weights(), meeting);
  const Matrix<const T> own = reset ? rows_on_q(cell_, operand_.weights(), H_) : operand_.weights();
  weights_.emplace(WeightLayout<T>::by_rows_of(own, gates_), meeting, args.precision);
}

template <class T>
void ForwardStep<T>::plan_panels(ArenaPlan& plan) {
  if (reset_) reset_->plan_panels(plan);
  if (weights_) weights_->plan_panels(plan);
}

template <class T>
void ForwardStep<T>::plan_scratch(ArenaPlan& plan, int threads) {
  if (reset_) reset_->plan_scratch(plan, threads);
  if (weights_) weights_->plan_scratch(plan, threads);
  if (a_.recurrent_mask) {
    plan.array(masked_, checked_mul(threads, checked_mul(schedule_.rows(), H_)));
  }
  plan.array(layout_.bias, checked_mul(panels_, cell_.slots * Simd<T>::width));
  if (cell_.unit_rows > 0) {
    plan.array(layout_.unit, checked_mul(panels_, cell_.unit_rows * Simd<T>::width));
  }
}

template <class T>
void ForwardStep<T>::pack_panels(const Worker& worker) {
  if (reset_) reset_->pack_panels(worker.share(panels_));
  if (weights_) weights_->pack(worker.share(panels_));
}

template <class T>
void ForwardStep<T>::pack_units(const Worker& worker) {
  constexpr Index width = Simd<T>::width;
  const Range mine = worker.share(panels_);
  T* to = layout_.bias + mine.begin * cell_.slots * width;
  for (Index b = mine.begin; b < mine.end; ++b) {
    for (int slot = 0; slot < cell_.wiring.slots(); ++slot) {
      for (Index lane = 0; lane < width; ++lane) *to++ = bias(slot, b * width + lane);
    }
  }
  pack_unit_parameters(a_.weights.unit, mine, H_, cell_.unit_rows, layout_.unit);
}

template <class T>
T ForwardStep<T>::bias(int slot, Index unit) const {
  T sum = 0;
  if (unit >= H_ || a_.weights.bias_ih == nullptr) return sum;
  const int x = cell_.wiring.gate_of(slot, 'x'), h = cell_.wiring.gate_of(slot, 'r');
  if (x >= 0) sum += a_.weights.bias_ih[x * H_ + unit];
  if (h >= 0) sum += a_.weights.bias_hh[h * H_ + unit];
  return sum;
}

template <class T>
ForwardArrays<T> ForwardStep<T>::arrays_at(Index first, Index step, T* z,
                                           const TapeView<T>& tape) const {
  ForwardArrays<T> at{.layout = &layout_,
                      .sums_step = gates_ * Simd<T>::width,
                      .keep_gates = tape.every_step,
                      .z = z + first * tape.gates_per_row,
                      .before = {},
                      .after = {},
                      .y = y_.at(step, first)};
  for (std::size_t k = 0; k < cell_.states.size(); ++k) {
    at.before[k] = tape.before(k, step) + first * layout_.stride[k];
    at.after[k] = tape.after(k, step) + first * layout_.stride[k];
  }
  return at;
}

template <class T>
void ForwardStep<T>::reset_half(const Share& mine, Index step, T* z,
                                const TapeView<T>& tape) const {
  const Range rows = schedule_.active(mine.rows, step);
  reset_->run(mine, rows, step, layout_, z + rows.begin * tape.gates_per_row,
              operand_rows(mine, rows, step, tape));
}

template <class T>
void ForwardStep<T>::cell_half(const Share& mine, Index step, T* z, const TapeView<T>& tape) const {
  const auto [first, active] = schedule_.active(mine.rows, step);
  const ForwardArrays<T> at = arrays_at(first, step, z, tape);
  if (weights_) {
    const RowsAt<T> h = reset_ ? reset_->q(first) : operand_rows(mine, {first, active}, step, tape);
    weights_->multiply(mine.thread, h.data, h.stride, active - first, mine.panels, step % 2 != 0,
                       {pointwise_, &at});
  } else {
    pointwise_(&at, 0, active - first, mine.panels.begin, static_cast<int>(mine.panels.size()),
               no_sums<T>);
  }
  if (zoneout_) zoneout_.forward(mine, {first, active}, step, tape, y_);
}

template <class T>
RowsAt<T> ForwardStep<T>::operand_rows(const Share& mine, Range rows, Index step,
                                       const TapeView<T>& tape) const {
  if (a_.recurrent_mask) return {masked_rows(mine, rows, step, tape), H_};
  const Index stride = layout_.stride[0];
  return {tape.before(0, step) + rows.begin * stride + operand_.first(), stride};
}

template <class T>
const T* ForwardStep<T>::masked_rows(const Share& mine, Range rows, Index step,
                                     const TapeView<T>& tape) const {
  T* const masked = masked_ + mine.thread * schedule_.rows() * H_;
  for (Index r = rows.begin; r < rows.end; ++r) {
    const T* const h = tape.before(0, step) + r * layout_.stride[0];
    const T* const mask = a_.recurrent_mask.row(schedule_.sequence(r));
    T* const to = masked + (r - rows.begin) * H_;
    for (Index i = 0; i < H_; ++i) to[i] = h[i] * mask[i];
  }
  return masked;
}

template <class T>
void ForwardStep<T>::run_decoupled(const Worker& worker, Range steps, Matrix<const T> fed, T* z,
                                   const TapeView<T>& tape) const {
  constexpr Index width = Simd<T>::width;
  const Share mine({0, schedule_.rows()}, worker.share(panels_), H_, width, worker.thread);
  Index step = steps.begin, base = 0;  // of the row at hand, and the rows before the step
  weights_->multiply(mine.thread, fed.data, fed.stride, fed.rows, mine.panels, false,
                     [&](Index row, Index rows, Index panel, int panels, const T* sums) {
                       if (row == 0) step = steps.begin, base = 0;
                       for (const Index end = row + rows; row < end;) {
                         while (row - base >= schedule_.active(step))
                           base += schedule_.active(step++);
                         const Index count = std::min(end, base + schedule_.active(step)) - row;
                         const ForwardArrays<T> at =
                             arrays_at(row - base, step, z + base * cell_.slots * H_, tape);
                         pointwise_(&at, 0, count, panel, panels, sums);
                         sums += count * panels * at.sums_step;
                         row += count;
                       }
                     });
}

template class ForwardStep<float>;
template class ForwardStep<double>;

}  // namespace rnncore
