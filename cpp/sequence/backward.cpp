// Backward pass (BPTT): the time loop turns the tape's gates into their gradients dz, the product
// dz R of the step after with the cell's pointwise step on its sums; then dW, dR, db and dx merged
// over all rows.
#include "cells/table.hpp"
#include "core/arena.hpp"
#include "gemm/pack.hpp"
#include "gemm/product.hpp"
#include "gemm/tile.hpp"
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
        columns_(recurrent_columns<Cell>(H_)),
        schedule_(args.sizes, args.lengths, args.reverse),
        x_rows_(as_rows(schedule_, args.x)),
        dx_rows_(as_rows(schedule_, args.dx)),
        ragged_(args.lengths != nullptr) {
    const Index I = a_.sizes.input;
    const Index row = checked_add(checked_mul(I, 2), checked_mul(slots + 1, H_));
    chunk_ = std::min(schedule_.rows(), std::max(chunk_rows<T>(row), args.sizes.batch));
    threads_ = threads_for(schedule_.rows() * gates * H_ * (H_ + I) / multiply_adds_per_unit,
                           schedule_.rows());
    scratch_.each = std::max({product_scratch<T>(gates * H_, I, chunk_),
                              product_scratch<T>(gates * H_, H_, chunk_),
                              product_scratch<T>(chunk_, I, gates * H_)});
    const auto plan = [&](auto&& array) {
      array(scratch_.data, threads_ * scratch_.each);
      array(packed_, packed_size<T>(H_, 1, gates * H_));
      array(dh_, BH_);
      if (Cell::has_c) array(dc_, BH_);
      if (!x_rows_) array(x_chunk_, checked_mul(chunk_, I));
      if (ragged_) array(h_chunk_, checked_mul(chunk_, H_));
      if (a_.dx && !dx_rows_) array(dx_chunk_, checked_mul(chunk_, I));
    };
    plan([&](T*, Index count) { arena_.reserve<T>(count); });
    arena_.allocate();
    plan([&](T*& pointer, Index count) { pointer = arena_.take<T>(count); });
  }

  void run() {
    parallel(threads_, [&](const Worker& worker) {
      const Range mine = schedule_.share(worker);
      pack(worker);
      load_state(mine);
      if (a_.dx) zero_padding(schedule_, mine, a_.dx);
      worker.barrier();
      for (Index step = schedule_.steps(); step-- > 0;) time_step(mine, step);
      initial_state(mine);
      worker.barrier();
      merged_products(worker);
    });
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;

  void pack(const Worker& worker) {
    const Range panels = worker.share(panel_count<T>(H_));
    for (Index b = panels.begin; b < panels.end; ++b) {
      pack_columns<T>(a_.weight_hh, b, packed_ + b * gates * H_ * width);
    }
  }

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
    for_tiles<T, 1>(dz(step) + begin * slots * H_, slots * H_, columns_, packed_, end - begin,
                    panel_count<T>(H_),
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
                        add(V::load(sums), dh_ + at, H_ - panel * width);
                      });
    for (Index r = mine.begin; r < mine.end; ++r) {
      std::copy_n(dh_ + r * H_, H_, a_.dh_0.row(schedule_.sequence(r)));
      if (Cell::has_c) std::copy_n(dc_ + r * H_, H_, a_.dc_0.row(schedule_.sequence(r)));
    }
  }

  void merged_products(const Worker& worker) {
    for (Index begin = 0; begin < schedule_.steps();) {
      const Index end = schedule_.chunk_end(begin, chunk_);
      const Matrix<const T> x = x_of(worker, begin, end), h = h_prev_of(worker, begin, end);
      if (!x_rows_ || ragged_) worker.barrier();
      for (const Run& run : W::runs('x')) {
        product<T>(worker, Into::accumulate, Op::transpose, dz_of(begin, end, run), Op::none, x,
                   gate_rows(a_.dweight_ih, run), scratch_);
      }
      for (const Run& run : W::runs('h')) {
        product<T>(worker, Into::accumulate, Op::transpose, dz_of(begin, end, run), Op::none, h,
                   gate_rows(a_.dweight_hh, run), scratch_);
      }
      bias_gradient(worker, begin, end, 'x', a_.dbias_ih);
      bias_gradient(worker, begin, end, 'h', a_.dbias_hh);
      if (a_.dx) input_gradient(worker, begin, end);
      if (!x_rows_ || ragged_) worker.barrier();
      begin = end;
    }
  }

  Matrix<const T> dz_of(Index begin, Index end, const Run& run) const {
    const Index rows = schedule_.offset(end) - schedule_.offset(begin);
    return {dz(begin) + run.slot * H_, rows, run.count * H_, slots * H_};
  }

  template <class U>
  Matrix<U> gate_rows(Matrix<U> weights, const Run& run) const {
    return {weights.row(run.gate * H_), run.count * H_, weights.cols, weights.stride};
  }

  Matrix<const T> x_of(const Worker& worker, Index begin, Index end) {
    const Index first = schedule_.offset(begin), rows = schedule_.offset(end) - first;
    if (x_rows_) return {x_rows_.row(first), rows, x_rows_.cols, x_rows_.stride};
    gather(worker, schedule_, a_.x, begin, end, x_chunk_);
    return {x_chunk_, rows, a_.sizes.input, a_.sizes.input};
  }

  // The states before each step of the chunk: the tape itself unless sequences drop out.
  Matrix<const T> h_prev_of(const Worker& worker, Index begin, Index end) {
    const Index rows = schedule_.offset(end) - schedule_.offset(begin);
    if (!ragged_) return {a_.h + begin * BH_, rows, H_, H_};
    for_rows(worker, schedule_, begin, end, [&](Index i, Index step, Index row) {
      std::copy_n(a_.h + step * BH_ + row * H_, H_, h_chunk_ + i * H_);
    });
    return {h_chunk_, rows, H_, H_};
  }

  // Adds the sums of dz over the rows of the chunk; workers split the units.
  void bias_gradient(const Worker& worker, Index begin, Index end, char part, T* dbias) {
    if (dbias == nullptr) return;
    const Range units = worker.share(panel_count<T>(H_));
    for (const Run& run : W::runs(part)) {
      for (int g = 0; g < run.count; ++g) {
        const Matrix<const T> rows = dz_of(begin, end, {run.slot + g, 0, 1});
        const Index last = std::min(H_, units.end * width);
        for (Index unit = units.begin * width; unit < last; unit += width) {
          add(column_sum(rows, unit), dbias + (run.gate + g) * H_ + unit, H_ - unit);
        }
      }
    }
  }

  // Sums of a packet of columns: 16 rows at a time, these added with compensation (Kahan), since a
  // bias gradient is a plain sum of T*B terms.
  V column_sum(Matrix<const T> rows, Index unit) const {
    const Partial<T> lanes{std::min<Index>(width, H_ - unit)};
    V total = V::zero(), lost = V::zero();
    for (Index begin = 0; begin < rows.rows; begin += 16) {
      V sum = V::zero();
      for (Index r = begin; r < std::min(rows.rows, begin + 16); ++r) {
        sum = sum + lanes.load(rows.row(r) + unit);
      }
      sum = sum - lost;
      const V next = total + sum;
      lost = (next - total) - sum;
      total = next;
    }
    return total;
  }

  // to += value, the first `units` of a packet at most.
  static void add(V value, T* to, Index units) {
    const Partial<T> lanes{std::min<Index>(width, units)};
    lanes.store(lanes.load(to) + value, to);
  }

  // dx = dz W, straight into dx where its layout allows that.
  void input_gradient(const Worker& worker, Index begin, Index end) {
    const Index first = schedule_.offset(begin), rows = schedule_.offset(end) - first;
    const Index I = a_.sizes.input;
    const Matrix<T> to = dx_rows_ ? Matrix<T>{dx_rows_.row(first), rows, I, dx_rows_.stride}
                                  : Matrix<T>{dx_chunk_, rows, I, I};
    Into into = Into::assign;
    for (const Run& run : W::runs('x')) {
      if (run.count == 0) continue;
      product<T>(worker, into, Op::none, dz_of(begin, end, run), Op::none,
                 gate_rows(a_.weight_ih, run), to, scratch_);
      into = Into::accumulate;
    }
    if (dx_rows_) return;
    worker.barrier();
    scatter(worker, schedule_, dx_chunk_, begin, end, a_.dx);
    worker.barrier();
  }

  const BackwardArgs<T>& a_;
  const Index H_, BH_;
  const Columns columns_;  // of dz that meet R
  const Schedule schedule_;
  const Matrix<const T> x_rows_;  // x as one matrix, or empty: gathered by chunks
  const Matrix<T> dx_rows_;
  const bool ragged_;
  Index chunk_ = 0;
  int threads_ = 1;
  Arena arena_;
  T *packed_ = nullptr, *dh_ = nullptr, *dc_ = nullptr;
  T *x_chunk_ = nullptr, *h_chunk_ = nullptr, *dx_chunk_ = nullptr;
  Scratch<T> scratch_;
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
