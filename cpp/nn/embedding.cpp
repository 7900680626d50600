// Embedding: a gather forward, a scatter-add backward.
#include "nn/embedding.hpp"

#include <algorithm>

#include "core/parallel.hpp"

namespace rnncore {

Index first_out_of_range(const Index* indices, Index count, Index rows) {
  for (Index n = 0; n < count; ++n) {
    if (indices[n] < 0 || indices[n] >= rows) return n;
  }
  return -1;
}

template <class T>
void embedding_forward(const Index* indices, Matrix<const T> weight, Matrix<T> y) {
  parallel_parts(threads_for(y.rows * y.cols, y.rows), [&](const Worker& worker) {
    const Range rows = worker.share(y.rows);
    for (Index n = rows.begin; n < rows.end; ++n) {
      std::copy_n(weight.row(indices[n]), y.cols, y.row(n));
    }
  });
}

template <class T>
void embedding_backward(const Index* indices, Matrix<const T> dy, Matrix<T> dweight) {
  // Columns are split: an index may come twice, and every sum then runs over n in order.
  constexpr Index group = 16;
  const int threads = threads_for(dy.rows * dy.cols, ceil_div(dy.cols, group));
  parallel_parts(threads, [&](const Worker& worker) {
    const Range columns = worker.share(dy.cols, group);
    for (Index n = 0; n < dy.rows; ++n) {
      const T* from = dy.row(n);
      T* to = dweight.row(indices[n]);
      for (Index c = columns.begin; c < columns.end; ++c) to[c] += from[c];
    }
  });
}

template void embedding_forward(const Index*, Matrix<const float>, Matrix<float>);
template void embedding_forward(const Index*, Matrix<const double>, Matrix<double>);
template void embedding_backward(const Index*, Matrix<const float>, Matrix<float>);
template void embedding_backward(const Index*, Matrix<const double>, Matrix<double>);

}  // namespace rnncore
