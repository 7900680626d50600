// The forward steps of a schedule: W x merged over a chunk of steps, then the time loop on packed
// recurrent weights with the cell's pointwise step on each register tile's sums. Forward runs all
// steps; backward runs a segment again where its gates were not kept.
#pragma once

#include "cells/cell.hpp"
#include "gemm/packed_weights.hpp"
#include "sequence/input_weights.hpp"
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
  // `kept`: the panels may outlive the call.
  ForwardLoop(const LayerArgs<T>& args, const Schedule& schedule, bool kept = false)
      : a_(args),
        H_(args.sizes.hidden),
        schedule_(schedule),
        x_rows_(as_rows(schedule, args.x)),
        chunk_(chunk_of(args, schedule)),
        weights_(args.weight_hh, {{0, 0}, {H_, 0}}, args.sizes.batch, args.precision,
                 args.sizes.batch <= max_in_place_rows && few_rows(schedule.rows(), H_)),
        input_(args, schedule.rows(), chunk_, kept) {}

  // Both call array(pointer, elements) for each array that this needs: packed weights, and what a
  // call needs besides.
  template <class F>
  void plan_panels(F&& array) {
    weights_.plan_panels(array);
    input_.plan_panels(array);
  }
  template <class F>
  void plan_scratch(F&& array, int threads) {
    weights_.plan_scratch(array, threads);
    input_.plan_scratch(array, threads);
    array(bias_, weights_.panels() * slots * width);
    if (!x_rows_) array(x_chunk_, checked_mul(chunk_, a_.sizes.input));
  }

  // Whether weights are read as they are, so that nothing is packed that could be kept.
  bool in_place() const { return weights_.in_place() || input_.in_place(); }

  // Whether the panels of R are the tile unit's.
  bool on_tiles() const { return weights_.on_tiles(); }

  // Rows of a chunk.
  Index chunk() const { return chunk_; }

  PassWork costs() const {
    return pass_work<T>(schedule_, weights_.panels(), gates * H_, gates * a_.sizes.input);
  }

  // Called by every worker before the first `run`; `panels`: or are they there already?
  void pack(const Worker& worker, bool panels = true) {
    const Range mine = worker.share(weights_.panels());
    if (panels) {
      weights_.pack(mine);
      input_.pack(worker);
    }
    for (Index b = mine.begin; b < mine.end; ++b) {
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
      input_.multiply(worker, x_of(worker, {begin, end}), z);
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

  static Index chunk_of(const LayerArgs<T>& args, const Schedule& schedule) {
    const Index row = checked_add(args.sizes.input, checked_mul(slots, args.sizes.hidden));
    return std::min(schedule.rows(), std::max(chunk_rows<T>(row), args.sizes.batch));
  }

  // x of the steps' rows.
  Matrix<const T> x_of(const Worker& worker, Range steps) {
    const Index first = schedule_.offset(steps.begin), rows = schedule_.offset(steps.end) - first;
    if (x_rows_) return {x_rows_.row(first), rows, a_.sizes.input, x_rows_.stride};
    gather(worker, schedule_, a_.x, steps.begin, steps.end, x_chunk_);
    worker.barrier();
    return {x_chunk_, rows, a_.sizes.input, a_.sizes.input};
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
  const Index chunk_;
  PackedWeights<T, gates, false> weights_;
  InputWeights<Cell, T> input_;
  T *bias_ = nullptr, *x_chunk_ = nullptr;
};

}  // namespace rnncore
