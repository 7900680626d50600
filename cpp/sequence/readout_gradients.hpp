// What the readout's backward pass merges over time: dP, dQ and db_o, from da of all rows.
#pragma once

#include "core/arena.hpp"
#include "gemm/product.hpp"
#include "sequence/output.hpp"
#include "sequence/rows.hpp"

namespace rnncore {

template <class T>
class ReadoutGradients {
 public:
  // `chunk`: rows at a time.
  ReadoutGradients(const OutputBackwardArgs<T>& args, const Schedule& schedule, Index chunk,
                   int threads)
      : a_(args),
        first_(args.layers.front()),
        schedule_(schedule),
        B_(first_.sizes.batch),
        H_(first_.sizes.hidden),
        O_(args.output.outputs),
        F_(first_.sizes.fed),
        chunk_(chunk),
        threads_(threads),
        products_(first_.precision) {
    products_.fit(O_, H_, chunk);
    products_.fit(O_, F_, chunk);
  }

  void plan(ArenaPlan& plan) {
    products_.plan(plan, threads_);
    if (first_.lengths != nullptr) plan.array(gathered_, checked_mul(chunk_, H_ + F_));
  }

  // Called by every worker for a chunk of steps, after their time loop and a barrier; `da` (rows,
  // O) of all their rows.
  void run(const Worker& worker, Range steps, const T* da) const {
    const Index count = schedule_.offset(steps.end) - schedule_.offset(steps.begin);
    const Matrix<const T> da_rows{da, count, O_, O_};
    const Matrix<const T> h = h_of(worker, steps), f = fed_of(worker, steps);
    if (first_.lengths != nullptr) worker.barrier();  // both are gathered
    product<T>(worker, Into::accumulate, Op::transpose, da_rows, Op::none, h, a_.dweight_ho,
               products_);
    if (a_.dweight_oo) {
      product<T>(worker, Into::accumulate, Op::transpose, da_rows, Op::none, f, a_.dweight_oo,
                 products_);
    }
    if (a_.dbias != nullptr) bias_gradient(worker, da_rows);
  }

 private:
  // h of the top layer after each step, and f: rows of the tapes, gathered where sequences end.
  Matrix<const T> h_of(const Worker& worker, Range steps) const {
    const BackwardArgs<T>& top = a_.layers.back();
    return tape_rows(worker, steps, top.h + B_ * top.state(), top.state(), H_, gathered_);
  }
  Matrix<const T> fed_of(const Worker& worker, Range steps) const {
    return tape_rows(worker, steps, first_.h + H_, first_.state(), F_, gathered_ + chunk_ * H_);
  }

  // `columns` of the rows of a (steps, B, stride) array.
  Matrix<const T> tape_rows(const Worker& worker, Range steps, const T* from, Index stride,
                            Index columns, T* gathered) const {
    const Index rows = schedule_.offset(steps.end) - schedule_.offset(steps.begin);
    if (first_.lengths == nullptr) {
      return {from + steps.begin * B_ * stride, rows, columns, stride};
    }
    for_rows(worker, schedule_, steps.begin, steps.end, [&](Index i, Index step, Index row) {
      std::copy_n(from + (step * B_ + row) * stride, columns, gathered + i * columns);
    });
    return {gathered, rows, columns, columns};
  }

  // Column sums; workers split the outputs.
  void bias_gradient(const Worker& worker, Matrix<const T> da_rows) const {
    const Range mine = worker.share(O_);
    for (Index i = mine.begin; i < mine.end; ++i) {
      double sum = 0;
      for (Index r = 0; r < da_rows.rows; ++r) sum += static_cast<double>(da_rows.row(r)[i]);
      a_.dbias[i] += static_cast<T>(sum);
    }
  }

  const OutputBackwardArgs<T>& a_;
  const BackwardArgs<T>& first_;
  const Schedule& schedule_;
  const Index B_, H_, O_, F_, chunk_;
  const int threads_;
  ProductPlan<T> products_;
  T* gathered_ = nullptr;
};

}  // namespace rnncore
