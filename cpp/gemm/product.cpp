// The merged products: which kernel runs, who computes what, and the blocks of the microkernel.
#include "gemm/product.hpp"

#include <algorithm>

#include "gemm/bf16/split_product.hpp"
#include "gemm/blocked_product.hpp"
#include "gemm/choose.hpp"
#include "gemm/gemv.hpp"
#include "gemm/microkernel.hpp"
#include "gemm/pack.hpp"

namespace rnncore {
namespace {

// Elements packed at a time, B's and A's, a block deep: a second-level cache holds both.
constexpr Index packed_b = 128 * 1024, packed_a = 32 * 1024;

template <class T>
Index right_size(Index n, Index k) {
  return std::min(packed_b, checked_mul(round_up(n, Simd<T>::width), k));
}

template <class T>
Index memory_size(Index m, Index n, Index k) {
  const Index left = std::min(packed_a, checked_mul(m, k));
  return right_size<T>(n, k) + round_up(left, Simd<T>::width);
}

// B packed into panels, A read in place or, transposed, packed.
template <class T>
class PanelKernel {
 public:
  static constexpr Index row_block = packed_a / depth_block, column_block = packed_b / depth_block;

  PanelKernel(const Operands<T>& operands, Index columns, T* memory)
      : operands_(operands),
        packed_right_(memory),
        packed_left_(memory + right_size<T>(columns, operands.depth())) {}

  void pack_right(Range sum, Range columns) {
    const Matrix<const T>& b = operands_.b;
    columns_ = columns.size();
    const Index panels = panel_count<T>(columns_), size = sum.size() * width;
    if (operands_.op_b == Op::none) {
      const Matrix<const T> part{b.row(sum.begin) + columns.begin, sum.size(), columns_, b.stride};
      return pack_columns(part, 0, panels, packed_right_, size);
    }
    const Matrix<const T> part{b.row(columns.begin) + sum.begin, columns_, sum.size(), b.stride};
    for (Index p = 0; p < panels; ++p) pack_gates(part, 1, p, packed_right_ + p * size);
  }

  void pack_left(Range rows, Range sum) {
    const Matrix<const T>& a = operands_.a;
    rows_ = rows.size();
    depth_ = Columns{{0, 0}, {sum.size(), 0}};
    if (operands_.op_a == Op::none) {
      left_ = a.row(rows.begin) + sum.begin;
      left_stride_ = a.stride;
      return;
    }
    transpose(a.row(sum.begin) + rows.begin, a.stride, sum.size(), rows_, packed_left_, sum.size());
    left_ = packed_left_;
    left_stride_ = sum.size();
  }

  template <class F>
  void multiply(F&& write) const {
    panel_product<T>(1)(
        left_, left_stride_, depth_, packed_right_, rows_, {0, panel_count<T>(columns_)}, false,
        [&](Index row, Index rows, Index panel, int panels, const T* sums) {
          const Index column = panel * width, wide = panels * width;
          write(Block{{row, row + rows}, {column, std::min(columns_, column + wide)}}, sums, wide);
        });
  }

 private:
  static constexpr Index width = Simd<T>::width;

  const Operands<T> operands_;
  T *const packed_right_, *const packed_left_;
  const T* left_ = nullptr;  // what meets the panels
  Index left_stride_ = 0, rows_ = 0, columns_ = 0;
  Columns depth_;
};

// C += A^T B as the transpose of B^T A; workers split C's rows.
template <class T>
void product_transposed(const Worker& worker, Matrix<const T> a, Matrix<const T> b, Matrix<T> c,
                        T* memory) {
  const Range rows = worker.share(c.rows, Simd<T>::width);
  if (rows.size() == 0) return;
  const Operands<T> swapped{Op::transpose, b, Op::none, a};
  PanelKernel<T> kernel(swapped, c.rows, memory);
  blocked_product(worker, kernel, swapped.depth(), {{0, c.cols}, rows},
                  Destination<T>::transposed(c));
}

// Workers split the operand whose packing costs more: each packs its own part of it and all of the
// other one. Cuts fall on whole blocks of the microkernel.
Block share_of(const Worker& worker, Op op_a, Index rows, Index columns, Index width) {
  const Index block_columns = block_panels * width;
  const bool by_rows = op_a == Op::transpose ? rows >= block_rows * worker.size
                                             : columns < block_columns * worker.size;
  if (by_rows) return {worker.share(rows, block_rows), {0, columns}};
  return {{0, rows}, worker.share(columns, block_columns)};
}

}  // namespace

template <class T>
void ProductPlan<T>::fit(Index m, Index n, Index k) {
  Index size = memory_size<T>(m, n, k);
  if (runs_transposed<T>(m, n)) size = std::max(size, memory_size<T>(n, m, k));
  if constexpr (may_use_tiles<T>) {
    const ProductSize all{std::max(m, problem_rows_), n, k, batch_invariant_};
    if (choose_product<T>(all) == Kernel::tiles) size = std::max(size, split_product_memory(n));
  }
  memory_each_ = std::max(memory_each_, size);
}

template <class T>
void product(const Worker& worker, Into into, Op op_a, Matrix<const T> a, Op op_b,
             Matrix<const T> b, Matrix<T> c, const ProductPlan<T>& plan) {
  const Operands<T> operands{op_a, a, op_b, b};
  const Index depth = operands.depth();
  if constexpr (may_use_tiles<T>) {
    const Index rows = std::max(c.rows, plan.problem_rows());
    const ProductSize all{rows, c.cols, depth, plan.batch_invariant()};
    if (choose_product<T>(all) == Kernel::tiles) {
      return split_product(worker, into, operands, c, plan);
    }
  }
  T* const memory = plan.memory(worker);
  if (into == Into::accumulate && op_a == Op::transpose && op_b == Op::none &&
      runs_transposed<T>(c.rows, c.cols)) {
    return product_transposed(worker, a, b, c, memory);
  }
  const Block mine = share_of(worker, op_a, c.rows, c.cols, Simd<T>::width);
  if (mine.rows.size() == 0 || mine.columns.size() == 0) return;
  PanelKernel<T> kernel(operands, c.cols, memory);
  blocked_product(worker, kernel, depth, mine, Destination<T>(into, c));
}

template <class T>
void product_in_place(const Worker& worker, Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  constexpr Index width = Simd<T>::width;
  alignas(64) T sums[max_gemv_rows * width];
  const Range columns = worker.share(c.cols, width);
  for (Index n = columns.begin; n < columns.end; n += width) {
    const Partial<T> lanes{std::min(width, columns.end - n)};
    for (Index m = 0; m < c.rows; m += max_gemv_rows) {
      const Index count = std::min(max_gemv_rows, c.rows - m);
      const GemvOperands<T> operands{a.row(m), a.stride, b.row(n), b.stride, a.cols};
      gemv(&operands, 1, count, lanes.count, sums, width);
      for (Index r = 0; r < count; ++r) {
        lanes.store(Simd<T>::load(sums + r * width), c.row(m + r) + n);
      }
    }
  }
}

template class ProductPlan<float>;
template class ProductPlan<double>;
template void product(const Worker&, Into, Op, Matrix<const float>, Op, Matrix<const float>,
                      Matrix<float>, const ProductPlan<float>&);
template void product(const Worker&, Into, Op, Matrix<const double>, Op, Matrix<const double>,
                      Matrix<double>, const ProductPlan<double>&);
template void product_in_place(const Worker&, Matrix<const float>, Matrix<const float>,
                               Matrix<float>);
template void product_in_place(const Worker&, Matrix<const double>, Matrix<const double>,
                               Matrix<double>);

}  // namespace rnncore
