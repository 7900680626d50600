// The readout's product and its activations.
#include "recurrence/feedback/readout.hpp"

#include <algorithm>
#include <cmath>

#include "core/activations.hpp"

namespace rnncore {

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

template <class T>
Readout<T>::Readout(const FeedbackArgs<T>& args, const LoopRows& rows, Precision precision)
    : a_(args) {
  const auto pack = [&](auto& packed, Matrix<const T> weights) {
    if (!weights) return;
    packed.emplace(WeightLayout<T>::by_rows_of(weights), rows, precision);
  };
  pack(p_, args.weights.weight_ho);
  pack(q_, args.weights.weight_oo);
}

template <class T>
void Readout<T>::plan(ArenaPlan& plan, int threads) {
  for (auto* const weights : {&p_, &q_}) {
    if (!*weights) continue;
    (*weights)->plan_panels(plan);
    (*weights)->plan_scratch(plan, threads);
  }
}

template <class T>
void Readout<T>::pack(const Worker& worker) {
  p_->pack(worker.share(p_->panels()));
  if (q_) q_->pack(worker.share(q_->panels()));
}

template <class T>
void Readout<T>::run(int thread, Range rows, Matrix<const T> h, Matrix<const T> fed,
                     Matrix<T> y) const {
  if (q_) assign_rows(*q_, thread, fed, rows, y);
  multiply_rows(*p_, thread, h, rows, y.cols, [&](Index r, Index at, Index count, Simd<T> sums) {
    const Partial<T> lanes{count};
    T* const to = y.row(r) + at;
    if (a_.weights.bias != nullptr) sums = sums + lanes.load(a_.weights.bias + at);
    if (q_) sums = sums + lanes.load(to);
    lanes.store(sums, to);
  });
  if (a_.activation == Activation::identity) return;
  for (Index r = rows.begin; r < rows.end; ++r) activate(a_.activation, y.row(r), y.cols);
}

template void activate(Activation, float*, Index);
template void activate(Activation, double*, Index);
template void activate_backward(Activation, const float*, float*, Index);
template void activate_backward(Activation, const double*, double*, Index);
template class Readout<float>;
template class Readout<double>;

}  // namespace rnncore
