// What the readout's backward pass merges over time: dP, dQ and db_o, from da of all rows.
#pragma once

#include <algorithm>

#include "gemm/product.hpp"
#include "recurrence/feedback/closed_loop.hpp"
#include "recurrence/plan/rows.hpp"

namespace rnncore {

template <class T>
class ReadoutGradients {
 public:
  // `chunk`: rows at a time.
  ReadoutGradients(const ClosedLoopBackwardArgs<T>& args, const Schedule& schedule, Index chunk,
                   int threads)
      : a_(args),
        first_(args.layers.front()),
        schedule_(schedule),
        H_(first_.sizes.hidden),
        O_(args.feedback.outputs),
        F_(first_.sizes.fed),
        chunk_(chunk),
        threads_(threads),
        products_(first_.precision) {
    products_.fit(O_, H_, chunk);
    products_.fit(O_, F_, chunk);
  }

  void plan(ArenaPlan& plan) {
    products_.plan(plan, threads_);
    if (schedule_.ragged()) plan.array(gathered_, checked_mul(chunk_, H_ + F_));
  }

  // A chunk of steps, after its time loop; `da` (rows, O) of all their rows.
  void run(const Team& team, Range steps, const T* da) const {
    if (schedule_.ragged()) {
      team.run(team.threads(), [&](const Worker& worker) {
        gather(worker, steps, h_after(), gathered_);
        gather(worker, steps, f_before(), gathered_ + chunk_ * H_);
      });
    }
    const Matrix<const T> da_rows{da, schedule_.count(steps), O_, O_};
    const Matrix<const T> h = rows_of(steps, h_after(), gathered_);
    const Matrix<const T> f = rows_of(steps, f_before(), gathered_ + chunk_ * H_);
    team.run(team.threads(), [&](const Worker& worker) {
      add_product(worker, da_rows, h, a_.gradients.weight_ho);
      if (a_.gradients.weight_oo) add_product(worker, da_rows, f, a_.gradients.weight_oo);
      if (a_.gradients.bias != nullptr) bias_gradient(worker, da_rows);
    });
  }

 private:
  // h after each step, and the f that the step read: columns of a tape (steps, B, stride).
  Matrix<const T> h_after() const {
    const BackwardArgs<T>& top = a_.layers.back();
    return {top.tape.states[0] + top.state_sizes()[0], schedule_.batch(), H_, top.h_stride()};
  }
  Matrix<const T> f_before() const {
    return {first_.tape.states[0] + H_, schedule_.batch(), F_, first_.h_stride()};
  }

  void gather(const Worker& worker, Range steps, Matrix<const T> tape, T* gathered) const {
    for_rows(worker, schedule_, steps, [&](Index i, Index step, Index row) {
      std::copy_n(tape.row(step * tape.rows + row), tape.cols, gathered + i * tape.cols);
    });
  }

  // The rows of some steps, gathered where sequences end.
  Matrix<const T> rows_of(Range steps, Matrix<const T> tape, const T* gathered) const {
    const Index rows = schedule_.count(steps);
    if (schedule_.ragged()) return {gathered, rows, tape.cols, tape.cols};
    return {tape.row(steps.begin * tape.rows), rows, tape.cols, tape.stride};
  }

  void add_product(const Worker& worker, Matrix<const T> da, Matrix<const T> operand,
                   Matrix<T> to) const {
    product<T>(worker, Into::accumulate, Op::transpose, da, Op::none, operand, to, products_);
  }

  // Column sums; parts split the outputs.
  void bias_gradient(const Worker& worker, Matrix<const T> da_rows) const {
    const Range mine = worker.share(O_);
    for (Index i = mine.begin; i < mine.end; ++i) {
      double sum = 0;
      for (Index r = 0; r < da_rows.rows; ++r) sum += static_cast<double>(da_rows.row(r)[i]);
      a_.gradients.bias[i] += static_cast<T>(sum);
    }
  }

  const ClosedLoopBackwardArgs<T>& a_;
  const BackwardArgs<T>& first_;
  const Schedule& schedule_;
  const Index H_, O_, F_, chunk_;
  const int threads_;
  ProductPlan<T> products_;
  T* gathered_ = nullptr;
};

}  // namespace rnncore
