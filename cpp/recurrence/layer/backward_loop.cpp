// The steps of BackwardLoop.
#include "recurrence/layer/backward_loop.hpp"

#include "recurrence/layer/recurrent_columns.hpp"
#include "recurrence/layer/unit_parameters.hpp"

namespace rnncore {
namespace {

template <class T>
alignas(64) constexpr T no_sums[Simd<T>::width] = {};

}  // namespace

template <class T>
BackwardLoop<T>::BackwardLoop(const BackwardArgs<T>& args, const Schedule& schedule, Index chunk)
    : a_(args),
      cell_(*args.cell),
      pointwise_(args.kernels().backward),
      states_(cell_.states.size()),
      H_(args.sizes.hidden),
      chunk_(chunk),
      panels_(panel_count<T>(H_)),
      schedule_(schedule),
      dy_(schedule, args.dy),
      zoneout_(args, schedule) {
  layout_.hidden = H_;
  layout_.choice = args.chosen();
  for (std::size_t k = 0; k < states_; ++k) layout_.stride[k] = args.state_stride(k);
  if (!args.weights.weight_hh) return;
  weights_.emplace(WeightLayout<T>::by_columns_of(rows_on_h(cell_, args.weights.weight_hh, H_),
                                                  recurrent_columns(cell_, H_, 'h')),
                   LoopRows{.at_once = schedule.rows()}, args.precision);
  if (cell_.wiring.has_reset()) reset_.emplace(args, schedule, chunk);
}

template <class T>
void BackwardLoop<T>::plan(ArenaPlan& plan, int threads) {
  if (weights_) {
    weights_->plan_panels(plan);
    weights_->plan_scratch(plan, threads);
  }
  if (reset_) reset_->plan(plan, threads);
  for (std::size_t k = 0; k < states_; ++k) {
    plan.array(d_[k], checked_mul(schedule_.rows(), H_));
  }
  zoneout_.plan(plan);
  if (cell_.unit_rows == 0) return;
  plan.array(layout_.unit, checked_mul(panels_, cell_.unit_rows * Simd<T>::width));
  plan.array(dunit_, checked_mul(chunk_, cell_.unit_rows * H_));
}

template <class T>
void BackwardLoop<T>::pack(const Worker& worker) {
  const Range mine = worker.share(panels_);
  if (weights_) weights_->pack(mine);
  if (reset_) reset_->pack(mine);
  pack_unit_parameters(a_.weights.unit, mine, H_, cell_.unit_rows, layout_.unit);
}

template <class T>
void BackwardLoop<T>::load_state(const Share& mine) const {
  mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
    for (std::size_t k = 0; k < states_; ++k) {
      T* const to = d_[k] + r * H_ + unit;
      if (a_.dstate_n[k] && schedule_.last(r)) {
        std::copy_n(a_.dstate_n[k].row(schedule_.sequence(r)) + unit, count, to);
      } else {
        std::fill_n(to, count, T(0));
      }
    }
  });
}

template <class T>
void BackwardLoop<T>::store_state(Range sequences) const {
  for (std::size_t k = 0; k < states_; ++k) {
    const Matrix<T>& to = a_.dstate_0[k];
    schedule_.collect_initial(
        sequences,
        [&](Index b, Index r) {
          if (r < 0) {
            std::fill_n(to.row(b), H_, T(0));
          } else {
            std::copy_n(d_[k] + r * H_, H_, to.row(b));
          }
        },
        [&](Index b, Index r) {
          for (Index i = 0; i < H_; ++i) to.row(b)[i] += d_[k][r * H_ + i];
        });
  }
}

template <class T>
BackwardArrays<T> BackwardLoop<T>::arrays_at(Index first, Index step, Range chunk,
                                             const BackwardTape<T>& tape, const T* dy) const {
  BackwardArrays<T> at{.layout = &layout_,
                       .sums_step = Simd<T>::width,
                       .gates = tape.gates_at(step) + first * tape.gates_per_row,
                       .dunit = nullptr,
                       .before = {},
                       .d = {},
                       .dy = dy_.at(step, first)};
  if (dy != nullptr) at.dy = {.data = dy + first * H_, .stride = H_};
  if (dunit_ != nullptr) {
    const Index row = schedule_.count({chunk.begin, step}) + first;
    at.dunit = dunit_ + row * cell_.unit_rows * H_;
  }
  for (std::size_t k = 0; k < states_; ++k) {
    at.before[k] = tape.before(k, step) + first * layout_.stride[k];
    at.d[k] = d_[k] + first * H_;
  }
  return at;
}

template <class T>
void BackwardLoop<T>::recurrent_product(const Share& mine, Range rows, Index step,
                                        const BackwardTape<T>& tape, const BlockSums<T>& f) const {
  const Index stride = tape.gates_per_row;
  weights_->multiply(mine.thread, tape.gates_at(step) + rows.begin * stride, stride, rows.size(),
                     mine.panels, step % 2 != 0, f);
}

template <class T>
void BackwardLoop<T>::time_step(const Share& mine, Index step, Range chunk,
                                const BackwardTape<T>& tape, const T* dy) const {
  cell_half(mine, step, chunk, tape, dy);
  if (reset_) reset_half(mine, step, chunk, tape);
}

template <class T>
void BackwardLoop<T>::cell_half(const Share& mine, Index step, Range chunk,
                                const BackwardTape<T>& tape, const T* dy) const {
  if (zoneout_ || a_.recurrent_mask) return regularised_half(mine, step, chunk, tape, dy);
  const auto [first, active] = schedule_.active(mine.rows, step);
  BackwardArrays<T> at = arrays_at(first, step, chunk, tape, dy);
  const Index later =
      weights_ && step + 1 < chunk.end ? schedule_.active(mine.rows, step + 1).end : first;
  if (later > first) {
    recurrent_product(mine, {first, later}, step + 1, tape, {pointwise_, &at});
  }
  if (later == active) return;
  at.sums_step = 0;  // nothing comes to the other rows through R
  pointwise_(&at, later - first, active - later, mine.panels.begin,
             static_cast<int>(mine.panels.size()), no_sums<T>);
}

template <class T>
void BackwardLoop<T>::regularised_half(const Share& mine, Index step, Range chunk,
                                       const BackwardTape<T>& tape, const T* dy) const {
  const Range rows = schedule_.active(mine.rows, step);
  if (step + 1 < chunk.end) state_before(mine, step + 1, tape);
  BackwardArrays<T> at = arrays_at(rows.begin, step, chunk, tape, dy);
  at.sums_step = 0;  // d_ holds all but dy
  if (zoneout_) {
    zoneout_.split(mine, rows, step, d_, at.dy);
    if (zoneout_.of(0)) at.dy = {};
  }
  pointwise_(&at, 0, rows.size(), mine.panels.begin, static_cast<int>(mine.panels.size()),
             no_sums<T>);
  if (zoneout_ && !reset_) zoneout_.join(mine, rows, d_);
}

template <class T>
void BackwardLoop<T>::reset_half(const Share& mine, Index step, Range chunk,
                                 const BackwardTape<T>& tape) const {
  const Range rows = schedule_.active(mine.rows, step);
  const Index row = schedule_.count({chunk.begin, step}) + rows.begin;
  reset_->run(mine, rows, step, row, layout_, tape, d_[0]);
  if (zoneout_) zoneout_.join(mine, rows, d_);
}

template <class T>
void BackwardLoop<T>::state_before(const Share& mine, Index step,
                                   const BackwardTape<T>& tape) const {
  if (!weights_) return;
  constexpr Index width = Simd<T>::width;
  const Range rows = schedule_.active(mine.rows, step);
  recurrent_product(
      mine, rows, step, tape, [&](Index row, Index count, Index panel, int panels, const T* sums) {
        for (Index r = rows.begin + row; r < rows.begin + row + count; ++r) {
          const T* const mask =
              a_.recurrent_mask ? a_.recurrent_mask.row(schedule_.sequence(r)) : nullptr;
          for (Index p = panel; p < panel + panels; ++p, sums += width) {
            const Partial<T> lanes{std::min(width, H_ - p * width)};
            Simd<T> dh = Simd<T>::load(sums);
            if (mask != nullptr) dh = dh * lanes.load(mask + p * width);
            add_packet(dh, d_[0] + r * H_ + p * width, H_ - p * width);
          }
        }
      });
}

template class BackwardLoop<float>;
template class BackwardLoop<double>;

}  // namespace rnncore
