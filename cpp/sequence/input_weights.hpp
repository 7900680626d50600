// W of the merged product W x: packed block by block as the product goes along, read in place for
// few rows, or kept packed between inference calls.
#pragma once

#include <type_traits>

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
        in_place_(few_rows(rows, args.sizes.input)),
        kept_(kept && !on_tiles && !in_place_),
        packed_(weights_, {{0, 0}, {args.sizes.input, 0}, depth_block}, chunk, args.precision) {
    scratch_.precision = args.precision;
    scratch_.problem_rows = rows;
    scratch_.each = product_scratch<T>(chunk, weights_.rows, args.sizes.input);
  }

  bool in_place() const { return in_place_; }

  // Packed weights, and what a call needs besides.
  void plan_panels(ArenaPlan& plan) {
    if (kept_) packed_.plan_panels(plan);
  }
  void plan_scratch(ArenaPlan& plan, int threads) {
    if (!in_place_ && !kept_) plan.array(scratch_.data, threads * scratch_.each);
  }

  void pack(const Worker& worker) {
    if (kept_) packed_.pack(worker.share(packed_.panels()));
  }

  // z = W x in the slots that take it; called by every worker, each computes its share.
  void multiply(const Worker& worker, Matrix<const T> x, T* z) const {
    const Matrix<T> to{z + x_run.slot * H_, x.rows, weights_.rows, Wiring<Cell>::slots * H_};
    if (in_place_) {
      product_in_place<T>(worker, x, weights_, to);
    } else if (kept_) {
      multiply_kept(worker, x, to);
    } else {
      product<T>(worker, Into::assign, Op::none, x, Op::transpose, weights_, to, scratch_);
    }
  }

 private:
  static constexpr Run x_run = Wiring<Cell>::runs('x')[0];
  static_assert(x_run.count == Wiring<Cell>::gates, "W meets consecutive slots");
  // The tile unit's product splits rows and panels together: its panels are not kept.
  static constexpr bool on_tiles = tile_unit::present && std::is_same_v<T, float>;

  void multiply_kept(const Worker& worker, Matrix<const T> x, Matrix<T> to) const {
    constexpr Index width = Simd<T>::width, wide = Tiles<T, 1>::main_panels;
    const Index panels = packed_.panels();
    const bool by_rows = panels < wide * worker.size;
    const Range rows = by_rows ? worker.share(x.rows, Tiles<T, 1>::max_rows) : Range{0, x.rows};
    packed_.multiply(worker.rank, x.row(rows.begin), x.stride, rows.size(),
                     by_rows ? Range{0, panels} : worker.share(panels, wide), false,
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
  const bool in_place_, kept_;
  PackedWeights<T, 1, false> packed_;
  Scratch<T> scratch_;
};

}  // namespace rnncore
