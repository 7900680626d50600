// Backward pass (BPTT): the time loop turns the gates into their gradients dz, the product dz R of
// the step after with the cell's pointwise step on its sums; then the merged gradients. Gates that
// forward did not keep are computed again, a segment at a time.
#include "cells/table.hpp"
#include "core/arena.hpp"
#include "gemm/packed_weights.hpp"
#include "sequence/gradients.hpp"
#include "sequence/partition.hpp"
#include "sequence/recompute.hpp"
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
        weights_(args.weight_hh, recurrent_columns<Cell>(H_), args.sizes.batch, args.precision),
        schedule_(args.sizes, args.lengths, args.reverse),
        segments_(schedule_, gradient_chunk<Cell, T>(args.sizes, schedule_), args.recompute),
        partition_(costs()),
        recomputation_(args, schedule_, segments_, partition_),
        gradients_(args, schedule_, partition_.threads()) {
    const auto plan = [&](auto&& array) {
      weights_.plan_panels(array);
      weights_.plan_scratch(array, partition_.threads());
      array(dh_, BH_);
      if (Cell::has_c) array(dc_, BH_);
      gradients_.plan(array);
      if (a_.recompute > 0) recomputation_.plan(array);
    };
    plan([&](T*, Index count) { arena_.reserve<T>(count); });
    arena_.allocate();
    plan([&](T*& pointer, Index count) { pointer = arena_.take<T>(count); });
  }

  void run() {
    parallel(partition_.threads(), [&](const Worker& worker) { work(worker); });
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;

  PassWork costs() const {
    const Index I = a_.sizes.input, depth = H_ + I + (a_.dx ? I : 0);
    return pass_work<T>(schedule_, weights_.panels(), gates * H_, gates * depth);
  }

  void work(const Worker& worker) {
    const Share mine = partition_.share(worker, schedule_, H_, width);
    const TileScope tiles(weights_.on_tiles());
    weights_.pack(worker.share(weights_.panels()));
    if (a_.recompute > 0) recomputation_.pack(worker);
    load_state(mine);
    if (a_.dx) zero_padding(schedule_, worker.share(a_.sizes.batch), a_.dx);
    worker.barrier();  // all is packed
    for (Index segment = segments_.count(); segment-- > 0;) {
      run_back(worker, mine, segments_.steps(segment),
               a_.recompute > 0 ? recomputation_.run(worker, mine, segment)
                                : Stretch<T>{0, a_.gates, a_.h, a_.c});
    }
    store_state(mine);
  }

  void run_back(const Worker& worker, const Share& mine, Range steps, const Stretch<T>& kept) {
    for (Index end = steps.end; end > steps.begin;) {
      const Index begin = gradients_.chunk_begin(end);
      for (Index step = end; step-- > begin;) {
        time_step(mine, step, end, kept);
        if (partition_.splits_units()) worker.barrier();
      }
      state_before(mine, begin, kept);
      worker.barrier();
      gradients_.run(worker, {{begin, end}, dz(begin, kept), kept.h + (begin - kept.begin) * BH_});
      end = begin;
    }
  }

  void load_state(const Share& mine) {
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      load(a_.dh_n, b, unit, count, dh_ + at);
      if (Cell::has_c) load(a_.dc_n, b, unit, count, dc_ + at);
    });
  }

  static void load(Matrix<const T> from, Index b, Index unit, Index count, T* to) {
    if (from) {
      std::copy_n(from.row(b) + unit, count, to);
    } else {
      std::fill_n(to, count, T(0));
    }
  }

  void store_state(const Share& mine) {
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      std::copy_n(dh_ + at, count, a_.dh_0.row(b) + unit);
      if (Cell::has_c) std::copy_n(dc_ + at, count, a_.dc_0.row(b) + unit);
    });
  }

  T* dz(Index step, const Stretch<T>& kept) const {
    return kept.gates + (schedule_.offset(step) - schedule_.offset(kept.begin)) * slots * H_;
  }

  // dh_ and dc_ arrive with what reaches step's output from later steps but through R; at the last
  // step of a chunk, `end` - 1, with all of it.
  void time_step(const Share& mine, Index step, Index end, const Stretch<T>& kept) {
    const auto [first, last] = mine.rows;
    const Index active = std::min(last, schedule_.active(step));
    const Index later = step + 1 < end ? schedule_.active(step + 1) : 0;
    const Index fed = std::max(first, std::min(last, later));
    recurrent_product(mine, {first, fed}, step + 1, kept, [&](Index r, Index panel, const T* sums) {
      pointwise_panel(row_at(r, step, kept), panel, V::load(sums));
    });
    for (Index r = fed; r < active; ++r) {  // nothing comes through R
      const Row row = row_at(r, step, kept);
      for (Index panel = mine.panels.begin; panel < mine.panels.end; ++panel) {
        pointwise_panel(row, panel, V::zero());
      }
    }
  }

  // Calls f(row, panel, sums) with the sums of dz R at `step` for the rows and the worker's panels.
  template <class F>
  void recurrent_product(const Share& mine, Range rows, Index step, const Stretch<T>& kept, F&& f) {
    weights_.multiply(mine.rank, dz(step, kept) + rows.begin * slots * H_, slots * H_, rows.size(),
                      mine.panels, step % 2 != 0,
                      [&](Index first, Index count, Index panel, int panels, const T* sums) {
                        for (Index r = 0; r < count; ++r) {
                          for (int p = 0; p < panels; ++p, sums += width) {
                            f(rows.begin + first + r, panel + p, sums);
                          }
                        }
                      });
  }

  // Completes dh_ with what reaches the state before `step` through R.
  void state_before(const Share& mine, Index step, const Stretch<T>& kept) {
    const Range rows{mine.rows.begin,
                     std::max(mine.rows.begin, std::min(mine.rows.end, schedule_.active(step)))};
    recurrent_product(mine, rows, step, kept, [&](Index r, Index panel, const T* sums) {
      add_packet(V::load(sums), dh_ + r * H_ + panel * width, H_ - panel * width);
    });
  }

  // Where one sequence's arrays of one time step start.
  struct Row {
    T* gates;
    const T *h_prev, *c_prev, *c, *dy;
    T *dh, *dc;
  };

  Row row_at(Index r, Index step, const Stretch<T>& kept) const {
    const Index at = r * H_, prev = (step - kept.begin) * BH_ + at;
    Row row{dz(step, kept) + r * slots * H_,
            kept.h + prev,
            nullptr,
            nullptr,
            nullptr,
            dh_ + at,
            nullptr};
    if (Cell::has_c) row.c_prev = kept.c + prev, row.c = row.c_prev + BH_, row.dc = dc_ + at;
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

  const BackwardArgs<T>& a_;
  const Index H_, BH_;
  PackedWeights<T, 1, true> weights_;
  const Schedule schedule_;
  const Segments segments_;
  const Partition partition_;
  Recomputation<Cell, T> recomputation_;
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
