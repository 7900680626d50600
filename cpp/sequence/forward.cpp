// Forward pass: W x merged over time, then the time loop on packed recurrent weights with the
// cell's pointwise step on each register tile's sums.
#include "cells/table.hpp"
#include "core/arena.hpp"
#include "gemm/packed_weights.hpp"
#include "gemm/product.hpp"
#include "sequence/partition.hpp"
#include "sequence/rows.hpp"
#include "sequence/sequence.hpp"

namespace rnncore {
namespace {

template <class Cell, class T>
class Forward {
 public:
  explicit Forward(const ForwardArgs<T>& args)
      : a_(args),
        H_(args.sizes.hidden),
        BH_(checked_mul(args.sizes.batch, H_)),
        schedule_(args.sizes, args.lengths, args.reverse),
        x_rows_(as_rows(schedule_, args.x)),
        weights_(args.weight_hh, {{0, 0}, {H_, 0}}, args.sizes.batch, args.precision,
                 args.sizes.batch <= max_in_place_rows && few_rows(schedule_.rows(), H_)) {
    const Index row = checked_add(a_.sizes.input, checked_mul(slots, H_));
    chunk_ = std::min(schedule_.rows(), std::max(chunk_rows<T>(row), args.sizes.batch));
    partition_ = Partition(pass_work());
    scratch_.precision = a_.precision;
    scratch_.each = product_scratch<T>(chunk_, gates * H_, a_.sizes.input);
    const auto plan = [&](auto&& array) {
      weights_.plan(array, partition_.threads());
      array(bias_, weights_.panels() * slots * width);
      array(scratch_.data, partition_.threads() * scratch_.each);
      if (!x_rows_) array(x_chunk_, checked_mul(chunk_, a_.sizes.input));
      if (!training()) {
        array(z_, checked_mul(chunk_, slots * H_));
        array(h_, 2 * BH_);
        if (Cell::has_c) array(c_, 2 * BH_);
      }
    };
    plan([&](T*, Index count) { arena_.reserve<T>(count); });
    arena_.allocate();
    plan([&](T*& pointer, Index count) { pointer = arena_.take<T>(count); });
    if (training()) h_ = a_.tape.h, c_ = a_.tape.c;
  }

  void run() {
    parallel(partition_.threads(), [&](const Worker& worker) { work(worker); });
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;

  bool training() const { return a_.tape.gates != nullptr; }

  PassWork pass_work() const {
    const Index rows = schedule_.rows(), steps = std::max<Index>(1, schedule_.steps());
    const Index panels = weights_.panels();
    return {schedule_.steps(), ceil_div(rows, steps),    panels,
            gates * H_,        width * Index{sizeof(T)}, rows * gates * panels * a_.sizes.input};
  }

  void work(const Worker& worker) {
    const Share mine = partition_.share(worker, schedule_, H_, width);
    const TileScope tiles(weights_.on_tiles());
    pack(worker);
    load_state(mine);
    zero_padding(worker);
    for (Index begin = 0; begin < schedule_.steps();) {
      const Index end = schedule_.chunk_end(begin, chunk_);
      worker.barrier();  // the last chunk's x and z are used up; before the first: all is packed
      input_product(worker, begin, end);
      worker.barrier();
      for (Index step = begin; step < end; ++step) {
        time_step(mine, begin, step);
        if (partition_.splits_units()) worker.barrier();
      }
      begin = end;
    }
    store_state(mine);
  }

  void pack(const Worker& worker) {
    const Range panels = worker.share(weights_.panels());
    weights_.pack(panels);
    for (Index b = panels.begin; b < panels.end; ++b) {
      for (int slot = 0; slot < slots; ++slot) {
        for (Index lane = 0; lane < width; ++lane) {
          bias_[(b * slots + slot) * width + lane] = bias(slot, b * width + lane);
        }
      }
    }
  }

  T bias(int slot, Index unit) const {
    T sum = 0;
    if (unit >= H_ || a_.bias_ih == nullptr) return sum;
    if (W::takes(slot, 'x')) sum += a_.bias_ih[W::gate_of(slot, 'x') * H_ + unit];
    if (W::takes(slot, 'h')) sum += a_.bias_hh[W::gate_of(slot, 'h') * H_ + unit];
    return sum;
  }

  T* state(T* slots_of, Index step) const {
    return slots_of + (training() ? step : step % 2) * BH_;
  }

  // Pre-activations, then activated gates, of the rows at `step`; the chunk starts at `begin`.
  T* z(Index begin, Index step) const {
    const Index row = schedule_.offset(step) - (training() ? 0 : schedule_.offset(begin));
    return (training() ? a_.tape.gates : z_) + row * slots * H_;
  }

  void load_state(const Share& mine) {
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      std::copy_n(a_.h_0.row(b) + unit, count, h_ + at);
      if (Cell::has_c) std::copy_n(a_.c_0.row(b) + unit, count, c_ + at);
    });
  }

  void store_state(const Share& mine) {
    const Index last = schedule_.steps();
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      std::copy_n(state(h_, last) + at, count, a_.h_n.row(b) + unit);
      if (Cell::has_c) std::copy_n(state(c_, last) + at, count, a_.c_n.row(b) + unit);
    });
  }

  void zero_padding(const Worker& worker) {
    rnncore::zero_padding(schedule_, worker.share(a_.sizes.batch), a_.y);
  }

  // z = W x for the slots that take it, all rows of the steps [begin, end) at once.
  void input_product(const Worker& worker, Index begin, Index end) {
    const Index first = schedule_.offset(begin), rows = schedule_.offset(end) - first;
    const Index I = a_.sizes.input;
    Matrix<const T> x{x_chunk_, rows, I, I};
    if (x_rows_) {
      x = {x_rows_.row(first), rows, I, x_rows_.stride};
    } else {
      gather(worker, schedule_, a_.x, begin, end, x_chunk_);
      worker.barrier();
    }
    for (const Run& run : W::runs('x')) {
      const Matrix<const T> weights{a_.weight_ih.row(run.gate * H_), run.count * H_, I,
                                    a_.weight_ih.stride};
      const Matrix<T> to{z(begin, begin) + run.slot * H_, rows, run.count * H_, slots * H_};
      if (few_rows(schedule_.rows(), I)) {
        product_in_place<T>(worker, x, weights, to);
      } else {
        product<T>(worker, Into::assign, Op::none, x, Op::transpose, weights, to, scratch_);
      }
    }
  }

  void time_step(const Share& mine, Index begin, Index step) {
    const auto [first_row, last_row] = mine.rows;
    const Index active = std::max(first_row, std::min(last_row, schedule_.active(step)));
    T* const z_step = z(begin, step);
    weights_.multiply(mine.rank, state(h_, step) + first_row * H_, H_, active - first_row,
                      mine.panels, step % 2 != 0,
                      [&](Index first, Index rows, Index panel, int panels, const T* sums) {
                        for (Index r = first_row + first; r < first_row + first + rows; ++r) {
                          const Row row = row_at(r, step, z_step);
                          for (int p = 0; p < panels; ++p, sums += gates * width) {
                            if ((panel + p + 1) * width <= H_) {
                              pointwise(Whole<T>{}, row, panel + p, sums);
                            } else {
                              pointwise(Partial<T>{H_ % width}, row, panel + p, sums);
                            }
                          }
                        }
                      });
    mine.for_units({active, last_row}, [&](Index r, Index unit, Index count) {  // finished rows
      const Index at = r * H_ + unit;
      std::copy_n(state(h_, step) + at, count, state(h_, step + 1) + at);
      if (Cell::has_c) std::copy_n(state(c_, step) + at, count, state(c_, step + 1) + at);
    });
  }

  // Where one sequence's arrays of one time step start.
  struct Row {
    T* z;
    const T *h_prev, *c_prev;
    T *h, *c, *y;
  };

  Row row_at(Index r, Index step, T* z_step) const {
    const Index at = r * H_;
    Row row{z_step + r * slots * H_,
            state(h_, step) + at,
            nullptr,
            state(h_, step + 1) + at,
            nullptr,
            a_.y.row(schedule_.time(step, r), schedule_.sequence(r))};
    if (Cell::has_c) row.c_prev = state(c_, step) + at, row.c = state(c_, step + 1) + at;
    return row;
  }

  // One packet of units of one row: z = (W x) + b + (R h), then the cell.
  template <class Lanes>
  void pointwise(Lanes lanes, const Row& row, Index panel, const T* sums) {
    const Index unit = panel * width;
    V z[slots];
    for (int s = 0; s < slots; ++s) {
      z[s] = V::load(bias_ + (panel * slots + s) * width);
      if (W::takes(s, 'x')) z[s] = z[s] + lanes.load(row.z + s * H_ + unit);
      if (W::takes(s, 'h')) z[s] = z[s] + V::load(sums + W::gate_of(s, 'h') * width);
    }
    V h, c = V::zero(), c_prev = V::zero();
    if constexpr (Cell::has_c) c_prev = lanes.load(row.c_prev + unit);
    Cell::forward(z, lanes.load(row.h_prev + unit), c_prev, h, c);
    if (training()) {
      for (int s = 0; s < slots; ++s) lanes.store(z[s], row.z + s * H_ + unit);
    }
    lanes.store(h, row.h + unit);
    if constexpr (Cell::has_c) lanes.store(c, row.c + unit);
    lanes.store(h, row.y + unit);
  }

  const ForwardArgs<T>& a_;
  const Index H_, BH_;
  const Schedule schedule_;
  const Matrix<const T> x_rows_;  // x as one matrix, or empty: gathered by chunks
  PackedWeights<T, gates, false> weights_;
  Index chunk_ = 0;
  Partition partition_;
  Arena arena_;
  T *bias_ = nullptr, *x_chunk_ = nullptr;
  Scratch<T> scratch_;
  T *z_ = nullptr, *h_ = nullptr, *c_ = nullptr;
};

}  // namespace

template <class T>
void forward(std::string_view cell, const ForwardArgs<T>& args) {
  for_each_cell([&](auto policy) {
    using Cell = decltype(policy);
    if (cell == Cell::name) Forward<Cell, T>(args).run();
  });
}

template void forward(std::string_view, const ForwardArgs<float>&);
template void forward(std::string_view, const ForwardArgs<double>&);

}  // namespace rnncore
