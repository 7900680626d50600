// Linear layer: the products come from gemm, the bias is added around them.
#include "nn/linear.hpp"

#include <algorithm>

#include "core/arena.hpp"
#include "core/undo.hpp"
#include "gemm/choose.hpp"
#include "gemm/product.hpp"

namespace rnncore {
namespace {

// Output elements that are worth a thread of their own.
constexpr Index block = 64;

// Threads for an (M x K) (K x N) product; in double because M N K may not fit an Index.
int product_threads(Index m, Index n, Index k) {
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) /
                      static_cast<double>(multiply_adds_per_unit);
  return threads_for(static_cast<Index>(std::min(work, 1e15)), ceil_div(m * n, block));
}

template <class T>
void fill_rows(const Worker& worker, const T* bias, Matrix<T> y) {
  const Range rows = worker.share(y.rows);
  for (Index r = rows.begin; r < rows.end; ++r) std::copy_n(bias, y.cols, y.row(r));
}

// A few rows: the weights are read where they lie.
template <class T>
void few_rows_forward(const Worker& worker, const LinearForwardArgs<T>& args) {
  product_in_place<T>(worker, args.x, args.weight, args.y);
  if (args.bias == nullptr) return;
  const Range columns = worker.share(args.y.cols, Simd<T>::width);
  for (Index r = 0; r < args.y.rows; ++r) {
    for (Index c = columns.begin; c < columns.end; ++c) args.y.row(r)[c] += args.bias[c];
  }
}

// dbias += the column sums of dy, in float64; parts split the columns, never the rows.
template <class T>
void add_column_sums(const Worker& worker, Matrix<const T> dy, T* dbias) {
  constexpr Index group = 16;
  const Range columns = worker.share(dy.cols, group);
  for (Index c = columns.begin; c < columns.end; c += group) {
    const Index width = std::min(group, columns.end - c);
    double sum[group] = {};
    for (Index r = 0; r < dy.rows; ++r) {
      const T* from = dy.row(r) + c;
      for (Index i = 0; i < width; ++i) sum[i] += static_cast<double>(from[i]);
    }
    for (Index i = 0; i < width; ++i) dbias[c + i] += static_cast<T>(sum[i]);
  }
}

}  // namespace

template <class T>
void linear_forward(const LinearForwardArgs<T>& args) {
  const Matrix<const T>& x = args.x;
  const Matrix<T>& y = args.y;
  if (y.rows == 0 || y.cols == 0) return;
  const int threads = product_threads(y.rows, y.cols, x.cols);
  if (choose_input_product<T>({y.rows, y.cols, x.cols, args.batch_invariant}) == Kernel::gemv) {
    parallel_parts(threads, [&](const Worker& worker) { few_rows_forward(worker, args); });
    return;
  }
  ProductPlan<T> products(float32_matmul_precision(), y.rows, args.batch_invariant);
  products.fit(y.rows, y.cols, x.cols);
  ArenaPlan plan;
  products.plan(plan, threads);
  const Arena arena(plan);
  const Into into = args.bias != nullptr ? Into::accumulate : Into::assign;
  parallel(threads, [&](const Team& team) {
    if (args.bias != nullptr) {
      team.run(threads, [&](const Worker& worker) { fill_rows(worker, args.bias, args.y); });
    }
    team.run(threads, [&](const Worker& worker) {
      product<T>(worker, into, Op::none, args.x, Op::transpose, args.weight, args.y, products);
    });
  });
}

template <class T>
void linear_backward(const LinearBackwardArgs<T>& args) {
  const auto& dy = args.dy;
  if (args.x.rows == 0) return;
  // With no inputs (I = 0) only the bias has a gradient; with no outputs (O = 0) only dx is
  // written.
  const bool has_inputs = args.x.cols > 0, has_outputs = dy.cols > 0;
  if (!has_inputs && !has_outputs) return;
  const int threads = product_threads(dy.rows, dy.cols, args.x.cols);
  ProductPlan<T> products(float32_matmul_precision());
  products.fit(dy.rows, args.x.cols, dy.cols);
  products.fit(dy.cols, args.x.cols, dy.rows);
  ArenaPlan plan;
  products.plan(plan, threads);
  const Arena arena(plan);
  const auto add = [&](const Worker& worker) {
    if (args.dx && has_inputs) {
      product<T>(worker, Into::assign, Op::none, dy, Op::none, args.weight, args.dx, products);
    }
    if (has_inputs && has_outputs) {
      product<T>(worker, Into::accumulate, Op::transpose, dy, Op::none, args.x, args.dweight,
                 products);
    }
    if (args.dbias != nullptr) add_column_sums(worker, dy, args.dbias);
  };
  Undo<T> undo;
  undo.array(args.dweight);
  undo.array(args.dbias, dy.cols);
  undo.guard(dy.rows, [&](Interruptible may) {
    parallel(threads, [&](const Team& team) { team.run(threads, add); }, may);
  });
}

template void linear_forward(const LinearForwardArgs<float>&);
template void linear_forward(const LinearForwardArgs<double>&);
template void linear_backward(const LinearBackwardArgs<float>&);
template void linear_backward(const LinearBackwardArgs<double>&);

}  // namespace rnncore
