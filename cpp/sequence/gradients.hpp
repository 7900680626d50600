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
  const T* h_prev = nullptr;  // (steps, B, K): the states before each
};

template <class Cell, class T>
class MergedGradients {
 public:
  // `chunk`: rows at a time.
  MergedGradients(const BackwardArgs<T>& args, const Schedule& schedule, Index chunk, int threads)
      : a_(args),
        schedule_(schedule),
        H_(args.sizes.hidden),
        K_(args.state()),
        x_(schedule, args.x, chunk),
        fed_(schedule, args.fed, chunk),
        dx_(schedule, args.dx, chunk),
        dfed_(schedule, args.dfed, chunk),
        ragged_(args.lengths != nullptr),
        threads_(threads),
        chunk_(chunk),
        products_(args.precision) {
    const Index I = a_.sizes.input, F = a_.sizes.fed;
    for (const Index columns : {I, H_, F}) products_.fit(gates * H_, columns, chunk_);
    for (const Index columns : {I, F}) products_.fit(chunk_, columns, gates * H_);
  }

  void plan(ArenaPlan& plan) {
    products_.plan(plan, threads_);
    x_.plan(plan);
    fed_.plan(plan);
    dx_.plan(plan);
    dfed_.plan(plan);
    if (ragged_) plan.array(states_, checked_mul(chunk_, K_));
  }

  // The first step of the chunk that ends before step `end`.
  Index chunk_begin(Index end) const { return schedule_.chunk_begin(end, chunk_); }

  // Called by every worker of the team for a chunk of steps, after their time loop and a barrier.
  void run(const Worker& worker, const FinishedSteps<T>& done) {
    const Range steps = done.steps;
    const Matrix<const T> x = x_.at(worker, steps), states = states_of(worker, done);
    const Matrix<const T> fed = a_.fed
                                    ? fed_.at(worker, steps)
                                    : Matrix<const T>{states.data + H_, states.rows, K_ - H_, K_};
    if (x_.gathers() || fed_.gathers() || ragged_) worker.barrier();
    weight_gradient(worker, done, 'x', x, a_.dweight_ih);
    weight_gradient(worker, done, 'h', {states.data, states.rows, H_, K_}, a_.dweight_hh);
    weight_gradient(worker, done, 'h', fed, a_.dweight_oh);
    bias_gradient(worker, done, 'x', a_.dbias_ih);
    bias_gradient(worker, done, 'h', a_.dbias_hh);
    input_gradient(worker, done, 'x', a_.weight_ih, a_.dx, dx_);
    if (a_.dfed && steps.begin < a_.dfed.steps) {
      const Range wanted{steps.begin, std::min(steps.end, a_.dfed.steps)};
      input_gradient(worker, {wanted, done.dz, nullptr}, 'h', a_.weight_oh, a_.dfed, dfed_);
    }
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

  // The states before each step of the chunk: the tape itself unless sequences drop out.
  Matrix<const T> states_of(const Worker& worker, const FinishedSteps<T>& done) const {
    const auto [begin, end] = done.steps;
    const Index rows = rows_of(done.steps), batch = a_.sizes.batch;
    if (!ragged_) return {done.h_prev, rows, K_, K_};
    for_rows(worker, schedule_, begin, end, [&](Index i, Index step, Index row) {
      std::copy_n(done.h_prev + ((step - begin) * batch + row) * K_, K_, states_ + i * K_);
    });
    return {states_, rows, K_, K_};
  }

  // dweights += dz^T operand, for the slots that take `part`.
  void weight_gradient(const Worker& worker, const FinishedSteps<T>& done, char part,
                       Matrix<const T> operand, Matrix<T> dweights) const {
    if (!dweights) return;
    for (const Run& run : W::runs(part)) {
      product<T>(worker, Into::accumulate, Op::transpose, dz_of(done, run), Op::none, operand,
                 gate_rows(dweights, run), products_);
    }
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

  // d = dz weights, of the slots that take `part`, straight into `wanted` where its layout allows
  // that.
  void input_gradient(const Worker& worker, const FinishedSteps<T>& done, char part,
                      Matrix<const T> weights, const Sequence<T>& wanted,
                      const OutputRows<T>& rows) const {
    if (!wanted) return;
    Into into = Into::assign;
    for (const Run& run : W::runs(part)) {
      if (run.count == 0) continue;
      product<T>(worker, into, Op::none, dz_of(done, run), Op::none, gate_rows(weights, run),
                 rows.at(done.steps), products_);
      into = Into::accumulate;
    }
    rows.finish(worker, done.steps);
  }

  const BackwardArgs<T>& a_;
  const Schedule& schedule_;
  const Index H_, K_;
  InputRows<T> x_, fed_;
  OutputRows<T> dx_, dfed_;
  const bool ragged_;
  const int threads_;
  const Index chunk_;
  ProductPlan<T> products_;
  T* states_ = nullptr;
};

}  // namespace rnncore
