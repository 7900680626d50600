// Teacher forcing beside R: values fed back that are known before meet U for a chunk of steps at
// once.
#pragma once

#include "gemm/product.hpp"
#include "recurrence/layer/layer.hpp"

namespace rnncore {

template <class T>
class TeacherForcingInput {
 public:
  TeacherForcingInput(const LayerArgs<T>& args, const Schedule& schedule, Index chunk)
      : a_(args), products_(args.precision, schedule.valid_steps(), args.batch_invariant) {
    products_.fit(chunk, args.weights.weight_oh.rows, args.sizes.fed);
  }

  void plan(ArenaPlan& plan, int threads) { products_.plan(plan, threads); }

  // z += U fed in the slots that take the recurrent part; it is the first to write those that take
  // no x-part. Called for every part of a run.
  void multiply(const Worker& worker, Matrix<const T> fed, T* z) const {
    const Index H = a_.sizes.hidden;
    const Matrix<const T> u = a_.weights.weight_oh;
    for (const Run& run : a_.cell->wiring.runs('r')) {
      if (run.count == 0) continue;
      const Matrix<const T> weights{u.row(run.gate * H), run.count * H, u.cols, u.stride};
      const Matrix<T> to{z + run.slot * H, fed.rows, run.count * H, a_.gates_per_row()};
      const Into into = a_.cell->wiring.takes(run.slot, 'x') ? Into::accumulate : Into::assign;
      product<T>(worker, into, Op::none, fed, Op::transpose, weights, to, products_);
    }
  }

 private:
  const LayerArgs<T>& a_;
  ProductPlan<T> products_;
};

}  // namespace rnncore
