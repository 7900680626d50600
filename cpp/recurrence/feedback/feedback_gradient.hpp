// The gradient of the values fed back, v: gathered from the steps that read them, for the output,
// or the initial values, that they were.
#pragma once

#include <optional>

#include "recurrence/feedback/readout.hpp"
#include "recurrence/plan/schedule.hpp"

namespace rnncore {

template <class T>
class FeedbackGradient {
 public:
  // `recurrent`: the columns of dz that meet U.
  FeedbackGradient(const ClosedLoopBackwardArgs<T>& args, const Schedule& schedule,
                   const Columns& recurrent)
      : a_(args),
        delays_(args.feedback.delays),
        longest_delay_(args.feedback.longest_delay),
        R_(schedule.rows()),
        O_(args.feedback.outputs),
        F_(args.layers.front().sizes.fed),
        schedule_(schedule),
        rows_{schedule, longest_delay_} {
    const LayerArgs<T>& first = args.layers.front();
    const Matrix<const T> u = first.weights.weight_oh, q = args.feedback.weights.weight_oo;
    const auto pack = [&](auto& packed, Matrix<const T> weights, const Columns& columns) {
      packed.emplace(WeightLayout<T>::by_columns_of(weights, columns), LoopRows{.at_once = R_},
                     first.precision);
    };
    if (q) pack(q_, q, {{0, 0}, {O_, 0}});
    if (u) pack(u_, u, recurrent);
  }

  // All but its weights.
  void plan(ArenaPlan& plan) {
    plan.array(dv_, checked_mul(rows_.count(), O_));
    plan.array(df_, checked_mul(R_, F_));
  }

  // Calls f for the packed weights.
  template <class F>
  void each_weights(F&& f) {
    if (q_) f(*q_);
    if (u_) f(*u_);
  }

  // Before the last step: what the caller wants of the final values.
  void load(Range rows) const {
    for (Index r = rows.begin; r < rows.end; ++r) {
      const Index b = schedule_.sequence(r), end = schedule_.length(r);
      for (Index slot = 0; slot < longest_delay_ + end; ++slot) std::fill_n(dv(slot, r), O_, T(0));
      if (!a_.dy_n || !schedule_.last(r)) continue;
      for (Index i = 0; i < longest_delay_; ++i) {
        std::copy_n(a_.dy_n.row(i, b), O_, dv(end + i, r));
      }
    }
  }

  // After the first step: the initial values', of some sequences.
  void store(Range sequences) const {
    for (Index slot = 0; slot < longest_delay_; ++slot) {
      schedule_.collect_initial(
          sequences,
          [&](Index b, Index r) {
            T* const to = a_.dy_0.row(slot, b);
            r < 0 ? std::fill_n(to, O_, T(0)) : std::copy_n(dv(slot, r), O_, to);
          },
          [&](Index b, Index r) {
            for (Index i = 0; i < O_; ++i) a_.dy_0.row(slot, b)[i] += dv(slot, r)[i];
          });
    }
  }

  // dv of what a step fed back, complete when all later steps have run.
  const T* of_output(Index step, Index r) const { return dv(longest_delay_ + step, r); }

  // df = dz U + da Q of a step, to the values that its f gathered.
  void run(int thread, Index step, Range rows, Matrix<const T> dz, Matrix<const T> da) const {
    const Matrix<T> df{df_, R_, F_, F_};
    if (u_) assign_rows(*u_, thread, dz, rows, df);
    if (q_) {
      multiply_rows(*q_, thread, da, rows, F_, [&](Index r, Index at, Index count, Simd<T> sums) {
        const Partial<T> lanes{count};
        T* const to = df.row(r) + at;
        lanes.store(u_ ? lanes.load(to) + sums : sums, to);
      });
    }
    for (Index r = rows.begin; r < rows.end; ++r) {
      const T* from = df.row(r);
      for (const Index delay : delays_) {
        T* const to = dv(longest_delay_ + step - delay, r);
        for (Index i = 0; i < O_; ++i) to[i] += *from++;
      }
    }
  }

 private:
  T* dv(Index slot, Index r) const { return dv_ + rows_.at(slot, r) * O_; }

  const ClosedLoopBackwardArgs<T>& a_;
  const std::vector<Index>& delays_;
  const Index longest_delay_, R_, O_, F_;
  const Schedule& schedule_;
  const FedRows rows_;
  std::optional<PackedWeights<T>> q_, u_;
  T *dv_ = nullptr, *df_ = nullptr;
};

}  // namespace rnncore
