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

  // Called by every worker for a chunk of steps, after their time loop and a barrier; `da` (rows,
  // O) of all their rows.
  void run(const Worker& worker, Range steps, const T* da) const {
    const Matrix<const T> da_rows{da, schedule_.count(steps), O_, O_};
    const BackwardArgs<T>& top = a_.layers.back();
    // h after each step, and the f that the step read.
    const Matrix<const T> h = tape_rows(worker, steps, top.tape.states[0] + top.state_sizes()[0],
                                        top.h_stride(), H_, gathered_);
    const Matrix<const T> f = tape_rows(worker, steps, first_.tape.states[0] + H_,
                                        first_.h_stride(), F_, gathered_ + chunk_ * H_);
    if (schedule_.ragged()) worker.barrier();  // both are gathered
    const auto add_product = [&](Matrix<const T> operand, Matrix<T> to) {
      product<T>(worker, Into::accumulate, Op::transpose, da_rows, Op::none, operand, to,
                 products_);
    };
    add_product(h, a_.gradients.weight_ho);
    if (a_.gradients.weight_oo) add_product(f, a_.gradients.weight_oo);
    if (a_.gradients.bias != nullptr) bias_gradient(worker, da_rows);
  }

 private:
  // `columns` of the rows of a (steps, B, stride) array, gathered where sequences end.
  Matrix<const T> tape_rows(const Worker& worker, Range steps, const T* from, Index stride,
                            Index columns, T* gathered) const {
    const Index rows = schedule_.count(steps), B = schedule_.batch();
    if (!schedule_.ragged()) return {from + steps.begin * B * stride, rows, columns, stride};
    for_rows(worker, schedule_, steps, [&](Index i, Index step, Index row) {
      std::copy_n(from + (step * B + row) * stride, columns, gathered + i * columns);
    });
    return {gathered, rows, columns, columns};
  }

  // Column sums; workers split the outputs.
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
