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
    if (schedule_.ragged()) plan.array(gathered_, checked_mul(chunk_, F_));
  }

  // A chunk of steps, after its time loop; `da` (rows, O) of all their rows.
  void run(const Team& team, Range steps, const T* da) const {
    if (schedule_.ragged()) {
      team.run(team.threads(), [&](const Worker& worker) { gather_fed(worker, steps); });
    }
    const Matrix<const T> da_rows{da, schedule_.count(steps), O_, O_};
    const Matrix<const T> h = h_after(steps), f = fed(steps);
    team.run(team.threads(), [&](const Worker& worker) {
      add_product(worker, da_rows, h, a_.gradients.weight_ho);
      if (a_.gradients.weight_oo) add_product(worker, da_rows, f, a_.gradients.weight_oo);
      if (a_.gradients.bias != nullptr) bias_gradient(worker, da_rows);
    });
  }

 private:
  // h of the last layer after each of some steps, where it lies.
  Matrix<const T> h_after(Range steps) const {
    const BackwardArgs<T>& top = a_.layers.back();
    const Index stride = top.h_stride();
    return {top.tape.states[0] + schedule_.state_offset(steps.begin + 1) * stride,
            schedule_.count(steps), H_, stride};
  }

  // f that the first row of a step read, behind h of the first layer.
  const T* fed_at(Index step) const {
    return first_.tape.states[0] + schedule_.state_offset(step) * first_.h_stride() + H_;
  }

  // f of all rows of some steps, gathered where rows drop out.
  Matrix<const T> fed(Range steps) const {
    const Index rows = schedule_.count(steps);
    if (schedule_.ragged()) return {gathered_, rows, F_, F_};
    return {fed_at(steps.begin), rows, F_, first_.h_stride()};
  }

  void gather_fed(const Worker& worker, Range steps) const {
    for_steps(worker, schedule_, steps, [&](Index first, Index step, Range rows) {
      for (Index r = 0; r < rows.size(); ++r) {
        std::copy_n(fed_at(step) + (rows.begin + r) * first_.h_stride(), F_,
                    gathered_ + (first + r) * F_);
      }
    });
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
