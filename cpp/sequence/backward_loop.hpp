// The backward time steps of a layer: the gates become their gradients dz, the product dz R of the
// step after with the cell's pointwise step on its sums.
#pragma once

#include <optional>

#include "cells/cell.hpp"
#include "gemm/packed_weights.hpp"
#include "sequence/partition.hpp"
#include "sequence/rows.hpp"

namespace rnncore {

// Gates and states of the steps from `begin` on: a whole tape, or a segment of it.
template <class T>
struct Stretch {
  Index begin = 0;
  T* gates = nullptr;
  const T *h = nullptr, *c = nullptr;  // slot 0: the state before `begin`
};

template <class Cell, class T>
class BackwardLoop {
 public:
  BackwardLoop(const BackwardArgs<T>& args, const Schedule& schedule)
      : a_(args),
        H_(args.sizes.hidden),
        K_(args.state()),
        BH_(checked_mul(args.sizes.batch, H_)),
        panels_(panel_count<T>(H_)),
        schedule_(schedule) {
    if (!args.weight_hh) return;
    weights_.emplace(WeightLayout<T>::by_columns_of(args.weight_hh, recurrent_columns<Cell>(H_)),
                     LoopRows{.at_once = args.sizes.batch}, args.precision);
  }

  void plan(ArenaPlan& plan, int threads) {
    if (weights_) {
      weights_->plan_panels(plan);
      weights_->plan_scratch(plan, threads);
    }
    plan.array(dh_, BH_);
    if (Cell::has_c) plan.array(dc_, BH_);
  }

  bool on_tiles() const { return weights_ && weights_->on_tiles(); }

  // `merged`: columns that the gates meet besides, in the products merged over time.
  PassWork costs(Index merged) const {
    const Index depth = weights_ ? gates * H_ : 0;
    return pass_work<T>(schedule_, panels_, depth, depth + gates * merged);
  }

  // Called by every worker before the first step.
  void pack(const Worker& worker) {
    if (weights_) weights_->pack(worker.share(panels_));
  }

  void load_state(const Share& mine) {
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      load(a_.dh_n, b, unit, count, dh_ + at);
      if (Cell::has_c) load(a_.dc_n, b, unit, count, dc_ + at);
    });
  }

  void store_state(const Share& mine) {
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      std::copy_n(dh_ + at, count, a_.dh_0.row(b) + unit);
      if (Cell::has_c) std::copy_n(dc_ + at, count, a_.dc_0.row(b) + unit);
    });
  }

  // dh_ and dc_ arrive with what reaches step's output from later steps but through R; at the last
  // step of a chunk, `end` - 1, with all of it. `dy`: (B, H) in the schedule's order, in place of
  // the arguments' dy, or null.
  void time_step(const Share& mine, Index step, Index end, const Stretch<T>& kept,
                 const T* dy = nullptr) {
    const auto [first, last] = mine.rows;
    const Index active = std::min(last, schedule_.active(step));
    const Index later = weights_ && step + 1 < end ? schedule_.active(step + 1) : 0;
    const Index fed = std::max(first, std::min(last, later));
    recurrent_product(mine, {first, fed}, step + 1, kept, [&](Index r, Index panel, const T* sums) {
      pointwise_panel(row_at(r, step, kept, dy), panel, V::load(sums));
    });
    for (Index r = fed; r < active; ++r) {  // nothing comes through R
      const Row row = row_at(r, step, kept, dy);
      for (Index panel = mine.panels.begin; panel < mine.panels.end; ++panel) {
        pointwise_panel(row, panel, V::zero());
      }
    }
  }

  // Completes dh_ with what reaches the state before `step` through R.
  void state_before(const Share& mine, Index step, const Stretch<T>& kept) {
    const Range rows = schedule_.active(mine.rows, step);
    recurrent_product(mine, rows, step, kept, [&](Index r, Index panel, const T* sums) {
      add_packet(V::load(sums), dh_ + r * H_ + panel * width, H_ - panel * width);
    });
  }

  // (rows, S*H): of the rows at `step`.
  T* dz(Index step, const Stretch<T>& kept) const {
    return kept.gates + (schedule_.offset(step) - schedule_.offset(kept.begin)) * slots * H_;
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;

  static void load(Matrix<const T> from, Index b, Index unit, Index count, T* to) {
    if (from) {
      std::copy_n(from.row(b) + unit, count, to);
    } else {
      std::fill_n(to, count, T(0));
    }
  }

  // Calls f(row, panel, sums) with the sums of dz R at `step` for the rows and the worker's panels.
  template <class F>
  void recurrent_product(const Share& mine, Range rows, Index step, const Stretch<T>& kept, F&& f) {
    if (!weights_) return;
    weights_->multiply(mine.rank, dz(step, kept) + rows.begin * slots * H_, slots * H_, rows.size(),
                       mine.panels, step % 2 != 0,
                       [&](Index first, Index count, Index panel, int panels, const T* sums) {
                         for (Index r = 0; r < count; ++r) {
                           for (int p = 0; p < panels; ++p, sums += width) {
                             f(rows.begin + first + r, panel + p, sums);
                           }
                         }
                       });
  }

  // Where one sequence's arrays of one time step start.
  struct Row {
    T* gates;
    const T *h_prev, *c_prev, *c, *dy;
    T *dh, *dc;
  };

  Row row_at(Index r, Index step, const Stretch<T>& kept, const T* dy) const {
    const Index at = r * H_, before = step - kept.begin;
    Row row{dz(step, kept) + r * slots * H_,
            kept.h + (before * a_.sizes.batch + r) * K_,
            nullptr,
            nullptr,
            nullptr,
            dh_ + at,
            nullptr};
    if (Cell::has_c) {
      row.c_prev = kept.c + before * BH_ + at;
      row.c = row.c_prev + BH_;
      row.dc = dc_ + at;
    }
    if (dy != nullptr) {
      row.dy = dy + at;
    } else if (a_.dy) {
      row.dy = a_.dy.row(schedule_.time(step, r), schedule_.sequence(r));
    }
    return row;
  }

  void pointwise_panel(const Row& row, Index panel, V dh) {
    if ((panel + 1) * width <= H_) {
      pointwise(Whole<T>{}, row, panel, dh);
    } else {
      pointwise(Partial<T>{H_ % width}, row, panel, dh);
    }
  }

  // One packet of units of one row: dh = dy + (dz R of the step after) + the rest, then the cell.
  template <class Lanes>
  void pointwise(Lanes lanes, const Row& row, Index panel, V dh) {
    const Index unit = panel * width;
    V z[slots], dc = V::zero(), c = V::zero(), c_prev = V::zero(), dh_prev;
    for (int s = 0; s < slots; ++s) z[s] = lanes.load(row.gates + s * H_ + unit);
    dh = dh + lanes.load(row.dh + unit);
    if (row.dy != nullptr) dh = dh + lanes.load(row.dy + unit);
    if constexpr (Cell::has_c) {
      dc = lanes.load(row.dc + unit);
      c = lanes.load(row.c + unit);
      c_prev = lanes.load(row.c_prev + unit);
    }
    Cell::backward(z, lanes.load(row.h_prev + unit), c_prev, c, dh, dc, dh_prev);
    for (int s = 0; s < slots; ++s) lanes.store(z[s], row.gates + s * H_ + unit);
    lanes.store(dh_prev, row.dh + unit);
    if constexpr (Cell::has_c) lanes.store(dc, row.dc + unit);
  }

  const BackwardArgs<T>& a_;
  const Index H_, K_, BH_, panels_;
  const Schedule& schedule_;
  std::optional<PackedWeights<T>> weights_;
  T *dh_ = nullptr, *dc_ = nullptr;
};

}  // namespace rnncore
