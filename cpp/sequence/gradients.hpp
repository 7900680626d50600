// What the backward pass merges over all rows once the time loop has left dz: dW, dR, db and dx.
#pragma once

#include <algorithm>

#include "gemm/product.hpp"
#include "sequence/rows.hpp"
#include "sequence/segments.hpp"

namespace rnncore {

// A run of steps that the time loop is through with.
template <class T>
struct FinishedSteps {
  Range steps;
  const T* dz = nullptr;      // (rows, S*H): of all their rows
  const T* h_prev = nullptr;  // (steps, B, H): the states before each
};

template <class Cell, class T>
class MergedGradients {
 public:
  MergedGradients(const BackwardArgs<T>& args, const Schedule& schedule, int threads)
      : a_(args),
        schedule_(schedule),
        H_(args.sizes.hidden),
        x_rows_(as_rows(schedule, args.x)),
        dx_rows_(as_rows(schedule, args.dx)),
        ragged_(args.lengths != nullptr),
        threads_(threads),
        chunk_(gradient_chunk<Cell, T>(args.sizes, schedule)) {
    const Index I = a_.sizes.input;
    scratch_.precision = a_.precision;
    scratch_.each = std::max({product_scratch<T>(gates * H_, I, chunk_),
                              product_scratch<T>(gates * H_, H_, chunk_),
                              product_scratch<T>(chunk_, I, gates * H_)});
  }

  // Calls array(pointer, elements) for each array that this needs of the arena.
  template <class F>
  void plan(F&& array) {
    const Index I = a_.sizes.input;
    array(scratch_.data, threads_ * scratch_.each);
    if (!x_rows_) array(x_chunk_, checked_mul(chunk_, I));
    if (ragged_) array(h_chunk_, checked_mul(chunk_, H_));
    if (a_.dx && !dx_rows_) array(dx_chunk_, checked_mul(chunk_, I));
  }

  // The first step of the chunk that ends before step `end`.
  Index chunk_begin(Index end) const { return schedule_.chunk_begin(end, chunk_); }

  // Called by every worker of the team for a chunk of steps, after their time loop and a barrier.
  void run(const Worker& worker, const FinishedSteps<T>& done) {
    const Matrix<const T> x = x_of(worker, done.steps), h = h_prev_of(worker, done);
    if (!x_rows_ || ragged_) worker.barrier();
    for (const Run& run : W::runs('x')) {
      product<T>(worker, Into::accumulate, Op::transpose, dz_of(done, run), Op::none, x,
                 gate_rows(a_.dweight_ih, run), scratch_);
    }
    for (const Run& run : W::runs('h')) {
      product<T>(worker, Into::accumulate, Op::transpose, dz_of(done, run), Op::none, h,
                 gate_rows(a_.dweight_hh, run), scratch_);
    }
    bias_gradient(worker, done, 'x', a_.dbias_ih);
    bias_gradient(worker, done, 'h', a_.dbias_hh);
    if (a_.dx) input_gradient(worker, done);
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int gates = W::gates, slots = W::slots, width = V::width;

  Index rows_of(Range steps) const {
    return schedule_.offset(steps.end) - schedule_.offset(steps.begin);
  }

  Matrix<const T> dz_of(const FinishedSteps<T>& done, const Run& run) const {
    return {done.dz + run.slot * H_, rows_of(done.steps), run.count * H_, slots * H_};
  }

  template <class U>
  Matrix<U> gate_rows(Matrix<U> weights, const Run& run) const {
    return {weights.row(run.gate * H_), run.count * H_, weights.cols, weights.stride};
  }

  Matrix<const T> x_of(const Worker& worker, Range steps) {
    const Index first = schedule_.offset(steps.begin), rows = rows_of(steps);
    if (x_rows_) return {x_rows_.row(first), rows, x_rows_.cols, x_rows_.stride};
    gather(worker, schedule_, a_.x, steps.begin, steps.end, x_chunk_);
    return {x_chunk_, rows, a_.sizes.input, a_.sizes.input};
  }

  // The states before each step of the chunk: the tape itself unless sequences drop out.
  Matrix<const T> h_prev_of(const Worker& worker, const FinishedSteps<T>& done) {
    const auto [begin, end] = done.steps;
    const Index rows = rows_of(done.steps), batch = a_.sizes.batch;
    if (!ragged_) return {done.h_prev, rows, H_, H_};
    for_rows(worker, schedule_, begin, end, [&](Index i, Index step, Index row) {
      std::copy_n(done.h_prev + ((step - begin) * batch + row) * H_, H_, h_chunk_ + i * H_);
    });
    return {h_chunk_, rows, H_, H_};
  }

  // Adds the sums of dz over the rows of the chunk; workers split the units.
  void bias_gradient(const Worker& worker, const FinishedSteps<T>& done, char part, T* dbias) {
    if (dbias == nullptr) return;
    const Range units = worker.share(panel_count<T>(H_));
    for (const Run& run : W::runs(part)) {
      for (int g = 0; g < run.count; ++g) {
        const Matrix<const T> rows = dz_of(done, {run.slot + g, 0, 1});
        const Index last = std::min(H_, units.end * width);
        for (Index unit = units.begin * width; unit < last; unit += width) {
          add_packet(column_sum(rows, unit), dbias + (run.gate + g) * H_ + unit, H_ - unit);
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

  // dx = dz W, straight into dx where its layout allows that.
  void input_gradient(const Worker& worker, const FinishedSteps<T>& done) {
    const auto [begin, end] = done.steps;
    const Index first = schedule_.offset(begin), rows = rows_of(done.steps);
    const Index I = a_.sizes.input;
    const Matrix<T> to = dx_rows_ ? Matrix<T>{dx_rows_.row(first), rows, I, dx_rows_.stride}
                                  : Matrix<T>{dx_chunk_, rows, I, I};
    Into into = Into::assign;
    for (const Run& run : W::runs('x')) {
      if (run.count == 0) continue;
      product<T>(worker, into, Op::none, dz_of(done, run), Op::none, gate_rows(a_.weight_ih, run),
                 to, scratch_);
      into = Into::accumulate;
    }
    if (dx_rows_) return;
    worker.barrier();
    scatter(worker, schedule_, dx_chunk_, begin, end, a_.dx);
  }

  const BackwardArgs<T>& a_;
  const Schedule& schedule_;
  const Index H_;
  const Matrix<const T> x_rows_;  // x as one matrix, or empty: gathered by chunks
  const Matrix<T> dx_rows_;
  const bool ragged_;
  const int threads_;
  const Index chunk_;
  T *x_chunk_ = nullptr, *h_chunk_ = nullptr, *dx_chunk_ = nullptr;
  Scratch<T> scratch_;
};

}  // namespace rnncore
