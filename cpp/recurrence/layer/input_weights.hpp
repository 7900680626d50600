// W of the merged product W x: packed block by block as the product goes along, read in place for
// few rows, or kept packed between inference calls.
#pragma once

#include <optional>

#include "gemm/packed_weights.hpp"
#include "gemm/product.hpp"
#include "recurrence/layer/layer.hpp"

namespace rnncore {

template <class T>
class InputWeights {
 public:
  // `rows`: all rows of the problem, at most `chunk` of them at once. `kept`: the panels may
  // outlive the call.
  InputWeights(const LayerArgs<T>& args, Index rows, Index chunk, bool kept);

  bool in_place() const { return in_place_; }

  void plan_panels(ArenaPlan& plan);
  void plan_scratch(ArenaPlan& plan, int threads);
  void pack(const Worker& worker);

  // z = W x in the slots that take it; called for every part of a run, each computes its share.
  void multiply(const Worker& worker, Matrix<const T> x, T* z) const;

 private:
  void multiply_kept(const Worker& worker, Matrix<const T> x, Matrix<T> to) const;

  const Matrix<const T> weights_;
  const Index H_, slots_;
  const Run x_run_;
  const bool in_place_;
  ProductPlan<T> products_;
  std::optional<PackedWeights<T>> packed_;  // if kept
};

extern template class InputWeights<float>;
extern template class InputWeights<double>;

}  // namespace rnncore
