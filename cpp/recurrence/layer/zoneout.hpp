// Zoneout's part of a time step, around the cell's: units that keep their old state, and the
// gradient that passes them by.
#pragma once

#include "core/arena.hpp"
#include "recurrence/layer/layer.hpp"
#include "recurrence/plan/partition.hpp"
#include "recurrence/plan/rows.hpp"
#include "recurrence/plan/tape_view.hpp"

namespace rnncore {

template <class T>
class ZoneoutStep {
 public:
  ZoneoutStep(const LayerArgs<T>& args, const Schedule& schedule)
      : zoneout_(args.zoneout),
        schedule_(schedule),
        states_(args.cell->states.size()),
        H_(args.sizes.hidden) {}

  explicit operator bool() const { return static_cast<bool>(zoneout_); }
  // Whether state k zones out.
  bool of(std::size_t k) const { return zoneout_.rates[k] > 0; }

  // What `split` keeps for `join`.
  void plan(ArenaPlan& plan);

  // After the cell, of a share's rows that are active: a unit that keeps its old state gets it
  // back, or each gets the expectation; and y its copy of h.
  void forward(const Share& mine, Range rows, Index step, const TapeView<T>& tape,
               const StepRows<T>& y) const;

  // `d`, dL/d(state after), before the cell's backward: it becomes what reaches the cell; and after
  // it: dL/d(state before) gets what passed by. `dy`, of these rows, joins d of h if that zones
  // out.
  void split(const Share& mine, Range rows, Index step, const States<T*>& d,
             const ScatteredRows<const T>& dy) const;
  void join(const Share& mine, Range rows, const States<T*>& d) const;

 private:
  // Calls f(row, unit, count, bits) for runs of a share's units; a unit keeps its old state k where
  // its bits are less than the threshold.
  template <class F>
  void for_bits(const Share& mine, Range rows, Index step, std::size_t k, const F& f) const;

  // Calls f(k) for each state that zones out.
  template <class F>
  void for_states(const F& f) const {
    for (std::size_t k = 0; k < states_; ++k) {
      if (of(k)) f(k);
    }
  }

  void keep_drawn(const Share& mine, Range rows, Index step, const TapeView<T>& tape,
                  std::size_t k) const;
  void blend_expected(const Share& mine, Range rows, Index step, const TapeView<T>& tape,
                      std::size_t k) const;

  const Zoneout& zoneout_;
  const Schedule& schedule_;
  const std::size_t states_;
  const Index H_;
  States<T*> passing_{};  // (R, H): gradients that pass the cell by
};

extern template class ZoneoutStep<float>;
extern template class ZoneoutStep<double>;

}  // namespace rnncore
