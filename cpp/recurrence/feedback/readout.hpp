// The readout of a time step: y = phi(P h + Q f + b_o).
#pragma once

#include <optional>

#include "gemm/packed_weights.hpp"
#include "recurrence/feedback/closed_loop.hpp"

namespace rnncore {

// Calls store(row, first column, columns, sums) for the packets of a few rows' product.
template <class T, class F>
void multiply_rows(const PackedWeights<T>& weights, int thread, Matrix<const T> a, Range rows,
                   Index columns, F&& store) {
  using V = Simd<T>;
  weights.multiply(thread, a.row(rows.begin), a.stride, rows.size(), {0, weights.panels()}, false,
                   [&](Index first, Index count, Index panel, int panels, const T* sums) {
                     for (Index r = rows.begin + first; r < rows.begin + first + count; ++r) {
                       for (Index p = panel; p < panel + panels; ++p, sums += V::width) {
                         const Index at = p * V::width;
                         store(r, at, std::min<Index>(V::width, columns - at), V::load(sums));
                       }
                     }
                   });
}

// Some rows of to = a weights.
template <class T>
void assign_rows(const PackedWeights<T>& weights, int thread, Matrix<const T> a, Range rows,
                 Matrix<T> to) {
  multiply_rows(weights, thread, a, rows, to.cols,
                [&](Index r, Index at, Index count, Simd<T> sums) {
                  Partial<T>{count}.store(sums, to.row(r) + at);
                });
}

template <class T>
class Readout {
 public:
  Readout(const FeedbackArgs<T>& args, const LoopRows& rows, Precision precision);

  void plan(ArenaPlan& plan, int threads);

  bool on_tiles() const { return p_->on_tiles() || (q_ && q_->on_tiles()); }

  // Called for every part of a run before the first step.
  void pack(const Worker& worker);

  // The outputs of some rows into y (B, O).
  void run(int thread, Range rows, Matrix<const T> h, Matrix<const T> fed, Matrix<T> y) const;

 private:
  const FeedbackArgs<T>& a_;
  std::optional<PackedWeights<T>> p_, q_;
};

extern template class Readout<float>;
extern template class Readout<double>;

}  // namespace rnncore
