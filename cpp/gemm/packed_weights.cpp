// Packed weights: the kernel is chosen once, each has a class of its own.
#include "gemm/packed_weights.hpp"

#include "gemm/gemv.hpp"

namespace rnncore {

template <class T>
void PanelWeights<T>::pack(Range panels) {
  const Matrix<const T>& weights = layout_.weights;
  if (layout_.by_columns) {
    return pack_columns(weights, panels.begin, panels.end, packed_, panel_size_);
  }
  for (Index b = panels.begin; b < panels.end; ++b) {
    pack_gates(weights, layout_.gates, b, packed_ + b * panel_size_);
  }
}

template <class T>
void UnpackedWeights<T>::multiply(int, const T* a, Index stride, Index rows, Range panels, bool,
                                  const BlockSums<T>& receive) const {
  constexpr int width = Simd<T>::width;
  const Matrix<const T>& weights = layout_.weights;
  const Index sums_stride = layout_.gates * width;
  alignas(64) T sums[max_gemv_rows * max_gates * width];
  for (Index panel = panels.begin; rows > 0 && panel < panels.end; ++panel) {
    const Index unit = panel * width, lanes = std::min<Index>(width, layout_.units() - unit);
    for (Index g = 0; g < layout_.gates; ++g) {
      const GemvOperands<T> operands{a, stride, weights.row(layout_.first_row(g) + unit),
                                     weights.stride, weights.cols};
      gemv(&operands, 1, rows, lanes, sums + g * width, sums_stride);
    }
    receive(0, rows, panel, 1, sums);
  }
}

template <class T>
PackedWeights<T>::PackedWeights(const WeightLayout<T>& layout, const LoopRows& rows,
                                Precision precision)
    : panels_(layout.panels()),
      kernel_(choose_loop_product<T>(rows, panels_ * layout.gates * Simd<T>::width,
                                     layout.columns.total())),
      weights_(make(kernel_, layout, rows, precision)) {}

template <class T>
typename PackedWeights<T>::Weights PackedWeights<T>::make(Kernel kernel,
                                                          const WeightLayout<T>& layout,
                                                          [[maybe_unused]] const LoopRows& rows,
                                                          [[maybe_unused]] Precision precision) {
  if constexpr (may_use_tiles<T>) {
    if (kernel == Kernel::tiles) return SplitWeights(layout, rows.at_once, precision);
  }
  assert(kernel != Kernel::gemv || !layout.by_columns);
  if (kernel == Kernel::gemv) return UnpackedWeights<T>(layout);
  return PanelWeights<T>(layout);
}

template <class T>
void PackedWeights<T>::plan_panels(ArenaPlan& plan) {
  std::visit([&](auto& weights) { weights.plan_panels(plan); }, weights_);
}

template <class T>
void PackedWeights<T>::plan_scratch(ArenaPlan& plan, int threads) {
  std::visit([&](auto& weights) { weights.plan_scratch(plan, threads); }, weights_);
}

template <class T>
void PackedWeights<T>::pack(Range panels) {
  std::visit([&](auto& weights) { weights.pack(panels); }, weights_);
}

template class PanelWeights<float>;
template class PanelWeights<double>;
template class UnpackedWeights<float>;
template class UnpackedWeights<double>;
template class PackedWeights<float>;
template class PackedWeights<double>;

}  // namespace rnncore
