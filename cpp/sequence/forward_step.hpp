// One forward time step of a layer: the recurrent product on packed weights with the cell's
// pointwise step on each register tile's sums.
#pragma once

#include <optional>

#include "cells/cell.hpp"
#include "gemm/packed_weights.hpp"
#include "sequence/partition.hpp"
#include "sequence/recurrence.hpp"
#include "sequence/rows.hpp"

namespace rnncore {

// Where the steps leave what they compute. `all`: gates, h and c of every step from `begin` on;
// else the gates of one chunk at a time, and two states that take turns.
template <class T>
struct ForwardResults {
  bool all = false;
  Index begin = 0;
  T *gates = nullptr, *h = nullptr, *c = nullptr;
  Index h_size = 0, c_size = 0;  // of one state: B*K and B*H
  Sequence<T> y;                 // or empty

  T* h_before(Index step) const { return h + slot(step) * h_size; }
  T* c_before(Index step) const { return c + slot(step) * c_size; }

 private:
  Index slot(Index step) const { return all ? step - begin : step % 2; }
};

template <class Cell, class T>
class ForwardStep {
 public:
  // `rows`: those of a product at most. Which kernel runs follows from the whole problem: a segment
  // gets the bits of the full pass.
  ForwardStep(const LayerArgs<T>& args, const Schedule& schedule, Index rows)
      : a_(args),
        H_(args.sizes.hidden),
        K_(args.state()),
        panels_(panel_count<T>(H_)),
        schedule_(schedule),
        recurrence_(args) {
    if (!recurrence_) return;
    weights_.emplace(WeightLayout<T>::by_rows_of(recurrence_.weights(), gates),
                     LoopRows{.at_once = rows,
                              .total = schedule.rows(),
                              .batch_invariant = args.batch_invariant,
                              .gemv_depth = H_},
                     args.precision);
  }

  // Whether no step needs the one before but for the cell's own state: `run_given`.
  bool given() const { return a_.fed && !a_.weight_hh; }

  // Packed weights, and what a call needs besides.
  void plan_panels(ArenaPlan& plan) {
    if (weights_) weights_->plan_panels(plan);
  }
  void plan_scratch(ArenaPlan& plan, int threads) {
    if (weights_) weights_->plan_scratch(plan, threads);
    plan.array(bias_, panels_ * slots * width);
  }

  // Whether weights are read as they are, so that nothing is packed that could be kept.
  bool in_place() const { return !weights_ || weights_->in_place(); }

  // Whether the panels are the tile unit's.
  bool on_tiles() const { return weights_ && weights_->on_tiles(); }

  // `input`: columns of W.
  PassWork costs(Index input) const {
    return pass_work<T>(schedule_, panels_, gates * recurrence_.depth(), gates * input);
  }

  // Called by every worker; `panels`: or are they there already?
  void pack(const Worker& worker, bool panels = true) {
    const Range mine = worker.share(panels_);
    if (panels && weights_) weights_->pack(mine);
    for (Index b = mine.begin; b < mine.end; ++b) {
      for (int slot = 0; slot < slots; ++slot) {
        for (Index lane = 0; lane < width; ++lane) {
          bias_[(b * slots + slot) * width + lane] = bias(slot, b * width + lane);
        }
      }
    }
  }

  // `z`: pre-activations, then activated gates, of the rows at `step`.
  void run(const Share& mine, Index step, T* z, const ForwardResults<T>& to) const {
    const auto [first_row, active] = schedule_.active(mine.rows, step);
    recurrent_product(mine, step, active, to,
                      [&](Index first, Index rows, Index panel, int panels, const T* sums) {
                        for (Index r = first_row + first; r < first_row + first + rows; ++r) {
                          sums = pointwise_panels(row_at(r, step, z, to), panel, panels, sums);
                        }
                      });
    carry(mine, {active, mine.rows.end}, step, to);
  }

  // Some steps whose values fed back are all given, `fed` (rows, F): one product over all rows. A
  // worker takes its panels, in which rows come in the order of time.
  void run_given(const Worker& worker, Range steps, Matrix<const T> fed, T* z,
                 const ForwardResults<T>& to) const {
    Share mine{{0, schedule_.batch()}, worker.share(panels_), {}, worker.rank};
    mine.units = {std::min(H_, mine.panels.begin * width), std::min(H_, mine.panels.end * width)};
    Index step = steps.begin, base = 0;  // of the row at hand, and the rows before the step
    weights_->multiply(mine.rank, fed.data, fed.stride, fed.rows, mine.panels, false,
                       [&](Index first, Index rows, Index panel, int panels, const T* sums) {
                         if (first == 0) step = steps.begin, base = 0;
                         for (Index i = first; i < first + rows; ++i) {
                           while (i - base >= schedule_.active(step)) {
                             base += schedule_.active(step++);
                           }
                           const Row row = row_at(i - base, step, z + base * slots * H_, to);
                           sums = pointwise_panels(row, panel, panels, sums);
                         }
                       });
    for (step = steps.begin; step < steps.end; ++step) {
      carry(mine, {schedule_.active(step), schedule_.batch()}, step, to);
    }
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;
  static_assert(has_microkernel(gates));

  T bias(int slot, Index unit) const {
    T sum = 0;
    if (unit >= H_ || a_.bias_ih == nullptr) return sum;
    if (W::takes(slot, 'x')) sum += a_.bias_ih[W::gate_of(slot, 'x') * H_ + unit];
    if (W::takes(slot, 'h')) sum += a_.bias_hh[W::gate_of(slot, 'h') * H_ + unit];
    return sum;
  }

  // Calls f as PackedWeights::multiply does, for the worker's rows up to `active`.
  void recurrent_product(const Share& mine, Index step, Index active, const ForwardResults<T>& to,
                         BlockSums<T> f) const {
    const Index first = mine.rows.begin, rows = active - first;
    if (weights_) {
      return weights_->multiply(mine.rank, to.h_before(step) + first * K_ + recurrence_.first(), K_,
                                rows, mine.panels, step % 2 != 0, f);
    }
    alignas(64) static constexpr T zeros[gates * width] = {};
    for (Index panel = mine.panels.begin; panel < mine.panels.end; ++panel) {
      for (Index r = 0; r < rows; ++r) f(r, 1, panel, 1, zeros);
    }
  }

  // Finished rows keep their state.
  void carry(const Share& mine, Range finished, Index step, const ForwardResults<T>& to) const {
    mine.for_units(finished, [&](Index r, Index unit, Index count) {
      const Index h = r * K_ + unit, c = r * H_ + unit;
      std::copy_n(to.h_before(step) + h, count, to.h_before(step + 1) + h);
      if (Cell::has_c) std::copy_n(to.c_before(step) + c, count, to.c_before(step + 1) + c);
    });
  }

  // Where one sequence's arrays of one time step start.
  struct Row {
    T* z;
    bool keep_gates;
    const T *h_prev, *c_prev;
    T *h, *c, *y;
  };

  Row row_at(Index r, Index step, T* z, const ForwardResults<T>& to) const {
    Row row{z + r * slots * H_,
            to.all,
            to.h_before(step) + r * K_,
            nullptr,
            to.h_before(step + 1) + r * K_,
            nullptr,
            nullptr};
    if (Cell::has_c) {
      row.c_prev = to.c_before(step) + r * H_;
      row.c = to.c_before(step + 1) + r * H_;
    }
    if (to.y) row.y = to.y.row(schedule_.time(step, r), schedule_.sequence(r));
    return row;
  }

  // A row's units in some panels; returns the sums behind them.
  const T* pointwise_panels(const Row& row, Index panel, int panels, const T* sums) const {
    for (int p = 0; p < panels; ++p, sums += gates * width) {
      if ((panel + p + 1) * width <= H_) {
        pointwise(Whole<T>{}, row, panel + p, sums);
      } else {
        pointwise(Partial<T>{H_ % width}, row, panel + p, sums);
      }
    }
    return sums;
  }

  // One packet of units of one row: z = (W x) + b + (R h), then the cell. With R, values fed back
  // that are given have left U's part in z.
  template <class Lanes>
  void pointwise(Lanes lanes, const Row& row, Index panel, const T* sums) const {
    const Index unit = panel * width;
    const bool merged = a_.fed && a_.weight_hh;
    V z[slots];
    for (int s = 0; s < slots; ++s) {
      z[s] = V::load(bias_ + (panel * slots + s) * width);
      if (W::takes(s, 'x') || merged) z[s] = z[s] + lanes.load(row.z + s * H_ + unit);
      if (W::takes(s, 'h')) z[s] = z[s] + V::load(sums + W::gate_of(s, 'h') * width);
    }
    V h, c = V::zero(), c_prev = V::zero();
    if constexpr (Cell::has_c) c_prev = lanes.load(row.c_prev + unit);
    Cell::forward(z, lanes.load(row.h_prev + unit), c_prev, h, c);
    if (row.keep_gates) {
      for (int s = 0; s < slots; ++s) lanes.store(z[s], row.z + s * H_ + unit);
    }
    lanes.store(h, row.h + unit);
    if constexpr (Cell::has_c) lanes.store(c, row.c + unit);
    if (row.y != nullptr) lanes.store(h, row.y + unit);
  }

  const LayerArgs<T>& a_;
  const Index H_, K_, panels_;
  const Schedule& schedule_;
  const Recurrence<T> recurrence_;
  std::optional<PackedWeights<T>> weights_;
  T* bias_ = nullptr;
};

}  // namespace rnncore
