// The gradient of the values fed back, v: gathered from the steps that read them, given to the
// output, or the initial values, that they were.
#pragma once

#include <optional>

#include "sequence/readout.hpp"
#include "sequence/schedule.hpp"

namespace rnncore {

template <class T>
class FedGradient {
 public:
  // `recurrent`: the columns of dz that meet U.
  FedGradient(const OutputBackwardArgs<T>& args, const Schedule& schedule, const Columns& recurrent)
      : a_(args),
        delays_(args.output.delays),
        D_(args.output.memory),
        B_(args.layers.front().sizes.batch),
        O_(args.output.outputs),
        F_(args.layers.front().sizes.fed),
        schedule_(schedule) {
    const LayerArgs<T>& first = args.layers.front();
    const Matrix<const T> u = first.weight_oh, q = args.output.weight_oo;
    const auto pack = [&](auto& packed, Matrix<const T> weights, const Columns& columns) {
      packed.emplace(WeightLayout<T>::by_columns_of(weights, columns), LoopRows{.at_once = B_},
                     first.precision);
    };
    if (q) pack(q_, q, {{0, 0}, {O_, 0}});
    if (u) pack(u_, u, recurrent);
  }

  // All arrays but for those of its weights.
  void plan(ArenaPlan& plan) {
    plan.array(dv_, checked_mul(checked_add(D_, schedule_.steps()), B_ * O_));
    plan.array(df_, B_ * F_);
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
      for (Index slot = 0; slot < D_ + end; ++slot) std::fill_n(dv(slot, r), O_, T(0));
      for (Index i = 0; a_.dy_n && i < D_; ++i) std::copy_n(a_.dy_n.row(i, b), O_, dv(end + i, r));
    }
  }

  // After the first step: the initial values'.
  void store(Range rows) const {
    for (Index r = rows.begin; r < rows.end; ++r) {
      const Index b = schedule_.sequence(r);
      for (Index i = 0; i < D_; ++i) std::copy_n(dv(i, r), O_, a_.dy_0.row(i, b));
    }
  }

  // dv of what a step gave, complete when all later steps have run.
  const T* of_output(Index step, Index r) const { return dv(D_ + step, r); }

  // df = dz U + da Q of a step, to the values that its f gathered.
  void run(int rank, Index step, Range rows, Rows<const T> dz, Rows<const T> da) const {
    const Rows<T> df{df_, F_};
    if (u_) assign_rows(*u_, rank, dz, rows, df, F_);
    if (q_) {
      multiply_rows(*q_, rank, da, rows, F_, [&](Index r, Index at, Index count, Simd<T> sums) {
        const Partial<T> lanes{count};
        T* const to = df.row(r) + at;
        lanes.store(u_ ? lanes.load(to) + sums : sums, to);
      });
    }
    for (Index r = rows.begin; r < rows.end; ++r) {
      const T* from = df.row(r);
      for (const Index delay : delays_) {
        T* const to = dv(D_ + step - delay, r);
        for (Index i = 0; i < O_; ++i) to[i] += *from++;
      }
    }
  }

 private:
  // v of step t has slot D + t.
  T* dv(Index slot, Index r) const { return dv_ + (slot * B_ + r) * O_; }

  const OutputBackwardArgs<T>& a_;
  const std::vector<Index>& delays_;
  const Index D_, B_, O_, F_;
  const Schedule& schedule_;
  std::optional<PackedWeights<T>> q_, u_;
  T *dv_ = nullptr, *df_ = nullptr;
};

}  // namespace rnncore
