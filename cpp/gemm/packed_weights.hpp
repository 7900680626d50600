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
      : layout_(layout),
        panel_size_(checked_mul(layout.columns.total(), layout.gates * Simd<T>::width)),
        product_(panel_product<T>(layout.gates)) {}

  void plan_panels(ArenaPlan& plan) {
    plan.array(packed_, checked_mul(layout_.panels(), panel_size_));
  }
  void plan_scratch(ArenaPlan&, int) {}
  void pack(Range panels);
  void multiply(int, const T* a, Index stride, Index rows, Range panels, bool backwards,
                const BlockSums<T>& receive) const {
    product_(a, stride, layout_.columns, packed_, rows, panels, backwards, receive);
  }

 private:
  const WeightLayout<T> layout_;
  const Index panel_size_;
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
  void multiply(int thread, const T* a, Index stride, Index rows, Range panels, bool backwards,
                const BlockSums<T>& receive) const;

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
  // `receive`, block by block. `thread`: the worker's. `backwards` should change from pass to pass:
  // see PanelProduct.
  void multiply(int thread, const T* a, Index stride, Index rows, Range panels, bool backwards,
                const BlockSums<T>& receive) const {
    std::visit(
        [&](const auto& weights) {
          weights.multiply(thread, a, stride, rows, panels, backwards, receive);
        },
        weights_);
  }

 private:
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

extern template class PanelWeights<float>;
extern template class PanelWeights<double>;
extern template class UnpackedWeights<float>;
extern template class UnpackedWeights<double>;
extern template class PackedWeights<float>;
extern template class PackedWeights<double>;

}  // namespace rnncore
