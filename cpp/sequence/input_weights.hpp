// W of the merged product W x: packed block by block as the product goes along, read in place for
// few rows, or kept packed between inference calls.
#pragma once

#include <optional>

#include "cells/cell.hpp"
#include "gemm/packed_weights.hpp"
#include "gemm/product.hpp"
#include "sequence/args.hpp"

namespace rnncore {

template <class Cell, class T>
class InputWeights {
 public:
  // `rows`: all rows of the problem, at most `chunk` of them at once.
  InputWeights(const LayerArgs<T>& args, Index rows, Index chunk, bool kept)
      : weights_(args.weight_ih),
        H_(args.sizes.hidden),
        in_place_(choose_input_product<T>(
                      {rows, weights_.rows, weights_.cols, args.batch_invariant}) == Kernel::gemv),
        products_(args.precision, rows, args.batch_invariant) {
    products_.fit(chunk, weights_.rows, weights_.cols);
    // The tile unit's product splits rows and panels together: its panels are not kept.
    if (!kept || in_place_ || may_use_tiles<T>) return;
    WeightLayout<T> layout = WeightLayout<T>::by_rows_of(weights_);
    layout.columns.piece = depth_block;
    packed_.emplace(layout, LoopRows{.at_once = chunk}, args.precision);
  }

  bool in_place() const { return in_place_; }

  // Packed weights, and what a call needs besides.
  void plan_panels(ArenaPlan& plan) {
    if (packed_) packed_->plan_panels(plan);
  }
  void plan_scratch(ArenaPlan& plan, int threads) {
    if (!in_place_ && !packed_) products_.plan(plan, threads);
  }

  void pack(const Worker& worker) {
    if (packed_) packed_->pack(worker.share(packed_->panels()));
  }

  // z = W x in the slots that take it; called by every worker, each computes its share.
  void multiply(const Worker& worker, Matrix<const T> x, T* z) const {
    const Matrix<T> to{z + x_run.slot * H_, x.rows, weights_.rows, Wiring<Cell>::slots * H_};
    if (in_place_) {
      product_in_place<T>(worker, x, weights_, to);
    } else if (packed_) {
      multiply_kept(worker, x, to);
    } else {
      product<T>(worker, Into::assign, Op::none, x, Op::transpose, weights_, to, products_);
    }
  }

 private:
  static constexpr Run x_run = Wiring<Cell>::runs('x')[0];
  static_assert(x_run.count == Wiring<Cell>::gates, "W meets consecutive slots");

  void multiply_kept(const Worker& worker, Matrix<const T> x, Matrix<T> to) const {
    constexpr Index width = Simd<T>::width;
    const Index panels = packed_->panels();
    const bool by_rows = panels < block_panels * worker.size;
    const Range rows = by_rows ? worker.share(x.rows, block_rows) : Range{0, x.rows};
    packed_->multiply(worker.rank, x.row(rows.begin), x.stride, rows.size(),
                      by_rows ? Range{0, panels} : worker.share(panels, block_panels), false,
                      [&](Index first, Index count, Index panel, int some, const T* sums) {
                        for (Index r = rows.begin + first; r < rows.begin + first + count; ++r) {
                          for (Index p = panel; p < panel + some; ++p, sums += width) {
                            const Partial<T> lanes{std::min(width, to.cols - p * width)};
                            lanes.store(Simd<T>::load(sums), to.row(r) + p * width);
                          }
                        }
                      });
  }

  const Matrix<const T> weights_;
  const Index H_;
  const bool in_place_;
  ProductPlan<T> products_;
  std::optional<PackedWeights<T>> packed_;  // kept from call to call
};

}  // namespace rnncore
