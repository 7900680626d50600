// Backward pass (BPTT): the time loop turns the tape's gates into their gradients dz, the product
// dz R of the step after with the cell's pointwise step on its sums; then the merged gradients.
#include "cells/table.hpp"
#include "core/arena.hpp"
#include "gemm/packed_weights.hpp"
#include "sequence/gradients.hpp"
#include "sequence/rows.hpp"
#include "sequence/sequence.hpp"

namespace rnncore {
namespace {

template <class Cell, class T>
class Backward {
 public:
  explicit Backward(const BackwardArgs<T>& args)
      : a_(args),
        H_(args.sizes.hidden),
        BH_(checked_mul(args.sizes.batch, H_)),
        weights_(args.weight_hh, recurrent_columns<Cell>(H_)),
        schedule_(args.sizes, args.lengths, args.reverse),
        threads_(threads_for(
            schedule_.rows() * gates * H_ * (H_ + args.sizes.input) / multiply_adds_per_unit,
            schedule_.rows())),
        gradients_(args, schedule_, threads_) {
    const auto plan = [&](auto&& array) {
      weights_.plan(array);
      array(dh_, BH_);
      if (Cell::has_c) array(dc_, BH_);
      gradients_.plan(array);
    };
    plan([&](T*, Index count) { arena_.reserve<T>(count); });
    arena_.allocate();
    plan([&](T*& pointer, Index count) { pointer = arena_.take<T>(count); });
  }

  void run() {
    parallel(threads_, [&](const Worker& worker) {
      const Range mine = schedule_.share(worker);
      weights_.pack(worker.share(weights_.panels()));
      load_state(mine);
      if (a_.dx) zero_padding(schedule_, mine, a_.dx);
      worker.barrier();
      for (Index step = schedule_.steps(); step-- > 0;) time_step(mine, step);
      initial_state(mine);
      worker.barrier();
      gradients_.run(worker);
    });
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;

  void load_state(Range rows) {
    for (Index r = rows.begin; r < rows.end; ++r) {
      load_row(a_.dh_n, r, dh_);
      if (Cell::has_c) load_row(a_.dc_n, r, dc_);
    }
  }

  void load_row(Matrix<const T> from, Index r, T* to) {
    if (from) {
      std::copy_n(from.row(schedule_.sequence(r)), H_, to + r * H_);
    } else {
      std::fill_n(to + r * H_, H_, T(0));
    }
  }

  T* dz(Index step) const { return a_.gates + schedule_.offset(step) * slots * H_; }

  // dh_ and dc_ arrive with what reaches step's output from later steps but through R.
  void time_step(Range mine, Index step) {
    const Index active = std::min(mine.end, schedule_.active(step));
    const Index later = step + 1 < schedule_.steps() ? schedule_.active(step + 1) : 0;
    const Index fed = std::max(mine.begin, std::min(mine.end, later));
    recurrent_product(mine.begin, fed, step + 1, [&](Index r, Index panel, const T* sums) {
      pointwise_panel(row_at(r, step), panel, V::load(sums));
    });
    for (Index r = fed; r < active; ++r) {  // sequences that end here
      const Row row = row_at(r, step);
      for (Index panel = 0; panel < panel_count<T>(H_); ++panel) {
        pointwise_panel(row, panel, V::zero());
      }
    }
  }

  // Calls f(row, panel, sums) with the sums of dz R at `step` for rows [begin, end).
  template <class F>
  void recurrent_product(Index begin, Index end, Index step, F&& f) {
    if (begin >= end) return;
    weights_.multiply(dz(step) + begin * slots * H_, slots * H_, end - begin,
                      {0, weights_.panels()},
                      [&](Index first, Index rows, Index panel, int panels, const T* sums) {
                        for (Index r = 0; r < rows; ++r) {
                          for (int p = 0; p < panels; ++p, sums += width) {
                            f(begin + first + r, panel + p, sums);
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

  Row row_at(Index r, Index step) const {
    const Index at = r * H_, prev = step * BH_ + at;
    Row row{dz(step) + r * slots * H_, a_.h + prev, nullptr, nullptr, nullptr, dh_ + at, nullptr};
    if (Cell::has_c) row.c_prev = a_.c + prev, row.c = row.c_prev + BH_, row.dc = dc_ + at;
    if (a_.dy) row.dy = a_.dy.row(schedule_.time(step, r), schedule_.sequence(r));
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

  void initial_state(Range mine) {
    const Index active = schedule_.steps() > 0 ? schedule_.active(0) : 0;
    recurrent_product(mine.begin, std::min(mine.end, active), 0,
                      [&](Index r, Index panel, const T* sums) {
                        const Index at = r * H_ + panel * width;
                        add_packet(V::load(sums), dh_ + at, H_ - panel * width);
                      });
    for (Index r = mine.begin; r < mine.end; ++r) {
      std::copy_n(dh_ + r * H_, H_, a_.dh_0.row(schedule_.sequence(r)));
      if (Cell::has_c) std::copy_n(dc_ + r * H_, H_, a_.dc_0.row(schedule_.sequence(r)));
    }
  }

  const BackwardArgs<T>& a_;
  const Index H_, BH_;
  PackedWeights<T, 1, true> weights_;
  const Schedule schedule_;
  const int threads_;
  MergedGradients<Cell, T> gradients_;
  Arena arena_;
  T *dh_ = nullptr, *dc_ = nullptr;
};

}  // namespace

template <class T>
void backward(std::string_view cell, const BackwardArgs<T>& args) {
  for_each_cell([&](auto policy) {
    using Cell = decltype(policy);
    if (cell == Cell::name) Backward<Cell, T>(args).run();
  });
}

template void backward(std::string_view, const BackwardArgs<float>&);
template void backward(std::string_view, const BackwardArgs<double>&);

}  // namespace rnncore
