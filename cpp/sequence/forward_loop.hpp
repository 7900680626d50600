// The forward steps of a schedule: W x merged over a chunk of steps, then the time loop on packed
// recurrent weights with the cell's pointwise step on each register tile's sums. Forward runs all
// steps; backward runs a segment again where its gates were not kept.
#pragma once

#include "cells/cell.hpp"
#include "gemm/packed_weights.hpp"
#include "gemm/product.hpp"
#include "sequence/partition.hpp"
#include "sequence/rows.hpp"

namespace rnncore {

// Where the steps leave what they compute. `all`: gates, h and c of every step from `begin` on;
// else the gates of one chunk at a time, and two states that take turns.
template <class T>
struct ForwardResults {
  bool all = false;
  Index begin = 0;
  T *gates = nullptr, *h = nullptr, *c = nullptr;
  Index state_size = 0;  // B*H
  Sequence<T> y;         // or empty

  T* h_before(Index step) const { return h + slot(step) * state_size; }
  T* c_before(Index step) const { return c + slot(step) * state_size; }

 private:
  Index slot(Index step) const { return all ? step - begin : step % 2; }
};

template <class Cell, class T>
class ForwardLoop {
 public:
  // Which kernel runs follows from the whole problem: a segment gets the bits of the full pass.
  ForwardLoop(const LayerArgs<T>& args, const Schedule& schedule)
      : a_(args),
        H_(args.sizes.hidden),
        schedule_(schedule),
        x_rows_(as_rows(schedule, args.x)),
        weights_(args.weight_hh, {{0, 0}, {H_, 0}}, args.sizes.batch, args.precision,
                 args.sizes.batch <= max_in_place_rows && few_rows(schedule.rows(), H_)) {
    const Index row = checked_add(a_.sizes.input, checked_mul(slots, H_));
    chunk_ = std::min(schedule_.rows(), std::max(chunk_rows<T>(row), args.sizes.batch));
    scratch_.precision = a_.precision;
    scratch_.rows = chunk_;
    scratch_.each = product_scratch<T>(chunk_, gates * H_, a_.sizes.input);
  }

  // Calls array(pointer, elements) for each array that this needs of the arena.
  template <class F>
  void plan(F&& array, int threads) {
    weights_.plan(array, threads);
    array(bias_, weights_.panels() * slots * width);
    array(scratch_.data, threads * scratch_.each);
    if (!x_rows_) array(x_chunk_, checked_mul(chunk_, a_.sizes.input));
  }

  // Whether a worker needs a TileScope around `run`.
  bool on_tiles() const { return weights_.on_tiles(); }

  // Rows of a chunk.
  Index chunk() const { return chunk_; }

  PassWork work() const {
    const Index rows = schedule_.rows(), steps = std::max<Index>(1, schedule_.steps());
    const Index panels = weights_.panels();
    return {schedule_.steps(), ceil_div(rows, steps),    panels,
            gates * H_,        width * Index{sizeof(T)}, rows * gates * panels * a_.sizes.input};
  }

  // Called by every worker before the first `run`.
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

  // Called by every worker of the team, the state before the first step in place. `meet`: workers
  // need each other's units, so that they meet after each step.
  void run(const Worker& worker, const Share& mine, bool meet, Range steps,
           const ForwardResults<T>& to) {
    const TileScope tiles(weights_.on_tiles());
    for (Index begin = steps.begin; begin < steps.end;) {
      const Index end = std::min(steps.end, schedule_.chunk_end(begin, chunk_));
      T* const z = to.gates + (to.all ? gates_before(begin) - gates_before(to.begin) : 0);
      worker.barrier();  // the last chunk's x and z are used up; before the first: all is packed
      input_product(worker, {begin, end}, z);
      worker.barrier();
      for (Index step = begin; step < end; ++step) {
        time_step(mine, step, z + gates_before(step) - gates_before(begin), to);
        if (meet) worker.barrier();
      }
      begin = end;
    }
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;

  T bias(int slot, Index unit) const {
    T sum = 0;
    if (unit >= H_ || a_.bias_ih == nullptr) return sum;
    if (W::takes(slot, 'x')) sum += a_.bias_ih[W::gate_of(slot, 'x') * H_ + unit];
    if (W::takes(slot, 'h')) sum += a_.bias_hh[W::gate_of(slot, 'h') * H_ + unit];
    return sum;
  }

  Index gates_before(Index step) const { return schedule_.offset(step) * slots * H_; }

  // z = W x for the slots that take it, all rows of the steps at once.
  void input_product(const Worker& worker, Range steps, T* z) {
    const Index first = schedule_.offset(steps.begin), rows = schedule_.offset(steps.end) - first;
    const Index I = a_.sizes.input;
    Matrix<const T> x{x_chunk_, rows, I, I};
    if (x_rows_) {
      x = {x_rows_.row(first), rows, I, x_rows_.stride};
    } else {
      gather(worker, schedule_, a_.x, steps.begin, steps.end, x_chunk_);
      worker.barrier();
    }
    for (const Run& run : W::runs('x')) {
      const Matrix<const T> weights{a_.weight_ih.row(run.gate * H_), run.count * H_, I,
                                    a_.weight_ih.stride};
      const Matrix<T> to{z + run.slot * H_, rows, run.count * H_, slots * H_};
      if (few_rows(schedule_.rows(), I)) {
        product_in_place<T>(worker, x, weights, to);
      } else {
        product<T>(worker, Into::assign, Op::none, x, Op::transpose, weights, to, scratch_);
      }
    }
  }

  // `z`: pre-activations, then activated gates, of the rows at `step`.
  void time_step(const Share& mine, Index step, T* z, const ForwardResults<T>& to) {
    const auto [first_row, last_row] = mine.rows;
    const Index active = std::max(first_row, std::min(last_row, schedule_.active(step)));
    weights_.multiply(mine.rank, to.h_before(step) + first_row * H_, H_, active - first_row,
                      mine.panels, step % 2 != 0,
                      [&](Index first, Index rows, Index panel, int panels, const T* sums) {
                        for (Index r = first_row + first; r < first_row + first + rows; ++r) {
                          const Row row = row_at(r, step, z, to);
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
      std::copy_n(to.h_before(step) + at, count, to.h_before(step + 1) + at);
      if (Cell::has_c) std::copy_n(to.c_before(step) + at, count, to.c_before(step + 1) + at);
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
    const Index at = r * H_;
    Row row{z + r * slots * H_,
            to.all,
            to.h_before(step) + at,
            nullptr,
            to.h_before(step + 1) + at,
            nullptr,
            nullptr};
    if (Cell::has_c) row.c_prev = to.c_before(step) + at, row.c = to.c_before(step + 1) + at;
    if (to.y) row.y = to.y.row(schedule_.time(step, r), schedule_.sequence(r));
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
    if (row.keep_gates) {
      for (int s = 0; s < slots; ++s) lanes.store(z[s], row.z + s * H_ + unit);
    }
    lanes.store(h, row.h + unit);
    if constexpr (Cell::has_c) lanes.store(c, row.c + unit);
    if (row.y != nullptr) lanes.store(h, row.y + unit);
  }

  const LayerArgs<T>& a_;
  const Index H_;
  const Schedule& schedule_;
  const Matrix<const T> x_rows_;  // x as one matrix, or empty: gathered by chunks
  PackedWeights<T, gates, false> weights_;
  Index chunk_ = 0;
  T *bias_ = nullptr, *x_chunk_ = nullptr;
  Scratch<T> scratch_;
};

}  // namespace rnncore
