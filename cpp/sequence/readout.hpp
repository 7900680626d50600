// The readout of a time step: y = phi(P h + Q f + b_o), and its gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/activations.hpp"
#include "gemm/packed_weights.hpp"
#include "sequence/output.hpp"

namespace rnncore {

// A row of O pre-activations becomes one of outputs.
template <class T>
void activate(Activation activation, T* row, Index count) {
  using V = Simd<T>;
  const auto each = [&](auto phi) {
    for (Index i = 0; i < count; i += V::width) {
      const Partial<T> lanes{std::min<Index>(V::width, count - i)};
      lanes.store(phi(lanes.load(row + i)), row + i);
    }
  };
  if (activation == Activation::tanh) each([](V z) { return tanh(z); });
  if (activation == Activation::sigmoid) each([](V z) { return logistic(z); });
  if (activation != Activation::softmax || count == 0) return;
  const T largest = *std::max_element(row, row + count);
  T sum = 0;
  for (Index i = 0; i < count; ++i) sum += row[i] = std::exp(row[i] - largest);
  for (Index i = 0; i < count; ++i) row[i] /= sum;
}

// da = (dphi/da)^T dy in place of dy, from the outputs y.
template <class T>
void activate_backward(Activation activation, const T* y, T* dy, Index count) {
  T mean = 0;  // of dy under the softmax's probabilities
  if (activation == Activation::softmax) {
    for (Index i = 0; i < count; ++i) mean += dy[i] * y[i];
  }
  for (Index i = 0; i < count; ++i) {
    switch (activation) {
      case Activation::identity:
        break;
      case Activation::tanh:
        dy[i] -= dy[i] * y[i] * y[i];
        break;
      case Activation::sigmoid:
        dy[i] *= y[i] - y[i] * y[i];
        break;
      case Activation::softmax:
        dy[i] = y[i] * (dy[i] - mean);
        break;
    }
  }
}

// Rows of a matrix that a product reads or writes: row r lies at data + r * stride.
template <class T>
struct Rows {
  T* data = nullptr;
  Index stride = 0;
  T* row(Index r) const { return data + r * stride; }
};

// Calls store(row, first column, columns, sums) for the packets of a few rows' product.
template <class T, class F>
void multiply_rows(const PackedWeights<T>& weights, int rank, Rows<const T> a, Range rows,
                   Index columns, F&& store) {
  using V = Simd<T>;
  weights.multiply(rank, a.row(rows.begin), a.stride, rows.size(), {0, weights.panels()}, false,
                   [&](Index first, Index count, Index panel, int panels, const T* sums) {
                     for (Index r = rows.begin + first; r < rows.begin + first + count; ++r) {
                       for (Index p = panel; p < panel + panels; ++p, sums += V::width) {
                         const Index at = p * V::width;
                         store(r, at, std::min<Index>(V::width, columns - at), V::load(sums));
                       }
                     }
                   });
}

// to = a weights, for `columns` columns.
template <class T>
void assign_rows(const PackedWeights<T>& weights, int rank, Rows<const T> a, Range rows, Rows<T> to,
                 Index columns) {
  multiply_rows(weights, rank, a, rows, columns, [&](Index r, Index at, Index count, Simd<T> sums) {
    Partial<T>{count}.store(sums, to.row(r) + at);
  });
}

template <class T>
class Readout {
 public:
  Readout(const OutputArgs<T>& args, const LoopRows& rows, Precision precision) : a_(args) {
    const auto pack = [&](auto& packed, Matrix<const T> weights) {
      packed.emplace(WeightLayout<T>::by_rows_of(weights), rows, precision);
    };
    pack(p_, args.weight_ho);
    if (args.weight_oo) pack(q_, args.weight_oo);
  }

  void plan(ArenaPlan& plan, int threads) {
    p_->plan_panels(plan);
    p_->plan_scratch(plan, threads);
    if (!q_) return;
    q_->plan_panels(plan);
    q_->plan_scratch(plan, threads);
  }

  bool on_tiles() const { return p_->on_tiles() || (q_ && q_->on_tiles()); }

  // Called by every worker before the first step.
  void pack(const Worker& worker) {
    p_->pack(worker.share(p_->panels()));
    if (q_) q_->pack(worker.share(q_->panels()));
  }

  // The outputs of the rows into y (B, O).
  void run(int rank, Range rows, Rows<const T> h, Rows<const T> fed, T* y) const {
    const Index O = a_.outputs;
    if (q_) {
      assign_rows(*q_, rank, fed, rows, Rows<T>{y, O}, O);
    }
    multiply_rows(*p_, rank, h, rows, O, [&](Index r, Index at, Index count, Simd<T> sums) {
      const Partial<T> lanes{count};
      T* const to = y + r * O + at;
      if (a_.bias != nullptr) sums = sums + lanes.load(a_.bias + at);
      if (q_) sums = sums + lanes.load(to);
      lanes.store(sums, to);
    });
    if (a_.activation == Activation::identity) return;
    for (Index r = rows.begin; r < rows.end; ++r) activate(a_.activation, y + r * O, O);
  }

 private:
  const OutputArgs<T>& a_;
  std::optional<PackedWeights<T>> p_, q_;
};

}  // namespace rnncore
