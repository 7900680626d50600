// Merged products by Eigen, one thread per output block.
#include "gemm/product.hpp"

#include <Eigen/Core>
#include <algorithm>

namespace rnncore {
namespace {

// A block is worth its own packing of the operands from about this many multiply-adds.
constexpr Index block_work = 4'000'000;
constexpr Index max_blocks = 16;

// Pieces that C is cut into: first across the longer side, never thinner than 128.
struct Grid {
  Index row_blocks = 1, col_blocks = 1;

  Grid(Index rows, Index cols, Index depth) {
    const double work = static_cast<double>(rows) * static_cast<double>(cols) *
                        static_cast<double>(std::max<Index>(depth, 1));
    const auto wanted = static_cast<Index>(
        std::min(work / static_cast<double>(block_work), static_cast<double>(max_blocks)));
    const auto most = [](Index size) { return std::max<Index>(1, size / 128); };
    Index& longer = rows > cols ? row_blocks : col_blocks;
    Index& shorter = rows > cols ? col_blocks : row_blocks;
    longer = std::clamp<Index>(wanted, 1, most(std::max(rows, cols)));
    shorter = std::clamp<Index>(wanted / longer, 1, most(std::min(rows, cols)));
  }
};

template <class T>
Matrix<const T> rows_of(Matrix<const T> m, Range r) {
  return {m.row(r.begin), r.size(), m.cols, m.stride};
}

template <class T>
Matrix<const T> cols_of(Matrix<const T> m, Range r) {
  return {m.data + r.begin, m.rows, r.size(), m.stride};
}

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
auto map(Matrix<const T> m) {
  return Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>(m.data, m.rows, m.cols,
                                                                Eigen::OuterStride<>(m.stride));
}

template <class T>
void block_product(Into into, Op op_a, Matrix<const T> a, Op op_b, Matrix<const T> b, Matrix<T> c) {
  Eigen::Map<RowMajor<T>, 0, Eigen::OuterStride<>> out(c.data, c.rows, c.cols,
                                                       Eigen::OuterStride<>(c.stride));
  const auto put = [&](const auto& expression) {
    if (into == Into::assign) {
      out.noalias() = expression;
    } else {
      out.noalias() += expression;
    }
  };
  if (op_a == Op::transpose) {
    assert(op_b == Op::none);
    put(map(a).transpose() * map(b));
  } else if (op_b == Op::transpose) {
    put(map(a) * map(b).transpose());
  } else {
    put(map(a) * map(b));
  }
}

}  // namespace

template <class T>
void product(const Worker& worker, Into into, Op op_a, Matrix<const T> a, Op op_b,
             Matrix<const T> b, Matrix<T> c) {
  if (c.rows == 0 || c.cols == 0) return;
  const Grid grid(c.rows, c.cols, op_a == Op::none ? a.cols : a.rows);
  for (Index i = worker.rank; i < grid.row_blocks * grid.col_blocks; i += worker.size) {
    const Range rows = even_part(c.rows, i / grid.col_blocks, grid.row_blocks, 16);
    const Range cols = even_part(c.cols, i % grid.col_blocks, grid.col_blocks, 16);
    block_product<T>(into, op_a, op_a == Op::none ? rows_of(a, rows) : cols_of(a, rows), op_b,
                     op_b == Op::none ? cols_of(b, cols) : rows_of(b, cols),
                     {c.row(rows.begin) + cols.begin, rows.size(), cols.size(), c.stride});
  }
}

template void product(const Worker&, Into, Op, Matrix<const float>, Op, Matrix<const float>,
                      Matrix<float>);
template void product(const Worker&, Into, Op, Matrix<const double>, Op, Matrix<const double>,
                      Matrix<double>);

}  // namespace rnncore
