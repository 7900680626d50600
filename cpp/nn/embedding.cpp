// Embedding: a gather forward, a scatter-add backward.
#include "nn/embedding.hpp"

#include <algorithm>
#include <atomic>

#include "core/parallel.hpp"

namespace rnncore {
namespace {

Index read_once(const Index& number) {
  return __atomic_load_n(&number, __ATOMIC_RELAXED);
}

}  // namespace

Index first_out_of_range(const Index* indices, Index count, Index rows) {
  for (Index n = 0; n < count; ++n) {
    if (indices[n] < 0 || indices[n] >= rows) return n;
  }
  return -1;
}

template <class T>
bool embedding_forward(const Index* indices, Matrix<const T> weight, Matrix<T> y) {
  std::atomic<bool> in_range = true;
  parallel_parts(threads_for(y.rows * y.cols, y.rows), [&](const Worker& worker) {
    const Range rows = worker.share(y.rows);
    for (Index n = rows.begin; n < rows.end; ++n) {
      const Index index = read_once(indices[n]);
      if (index < 0 || index >= weight.rows) return in_range.store(false);
      std::copy_n(weight.row(index), y.cols, y.row(n));
    }
  });
  return in_range;
}

template <class T>
bool embedding_backward(const Index* indices, Matrix<const T> dy, Matrix<T> dweight) {
  std::atomic<bool> in_range = true;
  // Columns are split: an index may come twice, and every sum then runs over n in order.
  constexpr Index group = 16;
  const int threads = threads_for(dy.rows * dy.cols, ceil_div(dy.cols, group));
  parallel_parts(threads, [&](const Worker& worker) {
    const Range columns = worker.share(dy.cols, group);
    for (Index n = 0; n < dy.rows; ++n) {
      const Index index = read_once(indices[n]);
      if (index < 0 || index >= dweight.rows) return in_range.store(false);
      const T* from = dy.row(n);
      T* to = dweight.row(index);
      for (Index c = columns.begin; c < columns.end; ++c) to[c] += from[c];
    }
  });
  return in_range;
}

template bool embedding_forward(const Index*, Matrix<const float>, Matrix<float>);
template bool embedding_forward(const Index*, Matrix<const double>, Matrix<double>);
template bool embedding_backward(const Index*, Matrix<const float>, Matrix<float>);
template bool embedding_backward(const Index*, Matrix<const double>, Matrix<double>);

}  // namespace rnncore
