// The right operand of a time loop: weights packed once, multiplied by a few rows at every step.
#pragma once

#include <variant>

#include "core/arena.hpp"
#include "core/parallel.hpp"
#include "gemm/bf16/split_weights.hpp"
#include "gemm/choose.hpp"
#include "gemm/microkernel.hpp"
#include "gemm/pack.hpp"
#include "gemm/precision.hpp"
#include "gemm/weight_layout.hpp"

namespace rnncore {

// Weights in the microkernel's panels.
template <class T>
class PanelWeights {
 public:
  explicit PanelWeights(const WeightLayout<T>& layout)
      : layout_(layout), product_(panel_product<T>(layout.gates)) {}

  void plan_panels(ArenaPlan& plan) { plan.array(packed_, checked_mul(layout_.panels(), size())); }
  void plan_scratch(ArenaPlan&, int) {}
  void pack(Range panels);
  void multiply(int, const T* a, Index stride, Index rows, Range panels, bool backwards,
                BlockSums<T> receive) const {
    product_(a, stride, layout_.columns, packed_, rows, panels, backwards, receive);
  }

 private:
  Index size() const {  // of a panel
    return checked_mul(layout_.columns.total(), layout_.gates * Simd<T>::width);
  }

  const WeightLayout<T> layout_;
  const PanelProduct<T> product_;
  T* packed_ = nullptr;
};

// Weights read where they lie, by rows; at most max_gemv_rows rows meet them.
template <class T>
class UnpackedWeights {
 public:
  explicit UnpackedWeights(const WeightLayout<T>& layout) : layout_(layout) {}

  void plan_panels(ArenaPlan&) {}
  void plan_scratch(ArenaPlan&, int) {}
  void pack(Range) {}
  void multiply(int rank, const T* a, Index stride, Index rows, Range panels, bool backwards,
                BlockSums<T> receive) const;

 private:
  const WeightLayout<T> layout_;
};

template <class T>
class PackedWeights {
 public:
  PackedWeights(const WeightLayout<T>& layout, const LoopRows& rows, Precision precision);

  // The panels, and what the workers need besides to multiply by them.
  void plan_panels(ArenaPlan& plan);
  void plan_scratch(ArenaPlan& plan, int threads);

  Index panels() const { return panels_; }
  // Whether the weights are read as they are, so that there are no panels that could be kept.
  bool in_place() const { return kernel_ == Kernel::gemv; }
  // Whether `multiply` uses the tile unit: a worker then opens a TileScope around its time loop.
  bool on_tiles() const { return kernel_ == Kernel::tiles; }

  void pack(Range panels);

  // Passes the product of `rows` rows of a, `stride` elements apart, with some panels to
  // `receive`, block by block. `rank`: the worker's. `backwards` should change from pass to pass:
  // see PanelProduct.
  void multiply(int rank, const T* a, Index stride, Index rows, Range panels, bool backwards,
                BlockSums<T> receive) const {
    const auto* const packed = std::get_if<PanelWeights<T>>(&weights_);
    if (packed != nullptr) {  // without a call between: a step may take 50 ns
      packed->multiply(rank, a, stride, rows, panels, backwards, receive);
    } else {
      multiply_otherwise(rank, a, stride, rows, panels, backwards, receive);
    }
  }

 private:
  void multiply_otherwise(int rank, const T* a, Index stride, Index rows, Range panels,
                          bool backwards, BlockSums<T> receive) const;

  using Weights =
      std::conditional_t<may_use_tiles<T>,
                         std::variant<PanelWeights<T>, UnpackedWeights<T>, SplitWeights>,
                         std::variant<PanelWeights<T>, UnpackedWeights<T>>>;

  static Weights make(Kernel kernel, const WeightLayout<T>& layout, const LoopRows& rows,
                      Precision precision);

  const Index panels_;
  const Kernel kernel_;
  Weights weights_;
};

extern template class PackedWeights<float>;
extern template class PackedWeights<double>;

}  // namespace rnncore
