// Teacher forcing beside R: values fed back that are given beforehand meet U for a chunk of steps
// at once.
#pragma once

#include "cells/cell.hpp"
#include "core/arena.hpp"
#include "gemm/product.hpp"
#include "sequence/rows.hpp"

namespace rnncore {

template <class Cell, class T>
class FedInput {
 public:
  FedInput(const LayerArgs<T>& args, const Schedule& schedule, Index chunk)
      : a_(args),
        H_(args.sizes.hidden),
        products_(args.precision, schedule.rows(), args.batch_invariant) {
    products_.fit(chunk, args.weight_oh.rows, args.sizes.fed);
  }

  void plan(ArenaPlan& plan, int threads) { products_.plan(plan, threads); }

  // z += U fed in the slots that take the recurrent part; it is the first to write those that take
  // no x-part. Called by every worker.
  void multiply(const Worker& worker, Matrix<const T> fed, T* z) const {
    for (const Run& run : W::runs('h')) {
      if (run.count == 0) continue;
      const Matrix<const T> weights{a_.weight_oh.row(run.gate * H_), run.count * H_,
                                    a_.weight_oh.cols, a_.weight_oh.stride};
      const Matrix<T> to{z + run.slot * H_, fed.rows, run.count * H_, W::slots * H_};
      const Into into = W::takes(run.slot, 'x') ? Into::accumulate : Into::assign;
      product<T>(worker, into, Op::none, fed, Op::transpose, weights, to, products_);
    }
    worker.barrier();
  }

 private:
  using W = Wiring<Cell>;

  const LayerArgs<T>& a_;
  const Index H_;
  ProductPlan<T> products_;
};

}  // namespace rnncore
