// Merged products on the register tile: B packed into panels, A read in place or, transposed,
// packed.
#include "gemm/product.hpp"

#include <algorithm>
#include <type_traits>

#include "gemm/dot.hpp"
#include "gemm/pack.hpp"
#include "gemm/split_product.hpp"
#include "gemm/tile.hpp"

namespace rnncore {
namespace {

// Elements packed at a time, B's and A's, a block deep: a second-level cache holds both.
constexpr Index packed_b = 128 * 1024, packed_a = 32 * 1024;
// Where A is transposed the sum runs over all steps and sequences: its pieces.
constexpr Index long_sum_piece = 64;

template <class T>
constexpr bool on_tiles = tile_unit::present && std::is_same_v<T, float>;

template <class T>
Index b_size(Index n, Index k) {
  return std::min(packed_b, checked_mul(round_up(n, Simd<T>::width), k));
}

// A few columns of C = A^T B fill no tile: its transpose B^T A does. (A weight gradient of few
// inputs; measured on a Zen 4.)
template <class T>
constexpr bool narrow(Index m, Index n) {
  return n <= 2 * Simd<T>::width && m >= 4 * Simd<T>::width;
}

template <class T>
class Product {
 public:
  // `turned`: the product is that of the transpose of `c`.
  Product(Into into, Op op_a, Matrix<const T> a, Op op_b, Matrix<const T> b, Matrix<T> c,
          T* scratch, bool turned = false)
      : into_(into),
        op_a_(op_a),
        op_b_(op_b),
        a_(a),
        b_(b),
        c_(c),
        turned_(turned),
        panels_(scratch),
        rows_(scratch + b_size<T>(turned ? c.rows : c.cols, op_a == Op::none ? a.cols : a.rows)) {}

  void run(Range rows, Range cols) {
    const Index depth = op_a_ == Op::none ? a_.cols : a_.rows;
    constexpr Index col_block = packed_b / depth_block, row_block = packed_a / depth_block;
    if (depth == 0 && into_ == Into::assign) zero(rows, cols);
    for (Index n = cols.begin; n < cols.end; n += col_block) {
      const Range to_cols{n, std::min(cols.end, n + col_block)};
      for (Index k = 0; k < depth; k += depth_block) {
        const Range sum{k, std::min(depth, k + depth_block)};
        pack_b(sum, to_cols);
        for (Index m = rows.begin; m < rows.end; m += row_block) {
          block({m, std::min(rows.end, m + row_block)}, to_cols, sum);
        }
      }
    }
  }

 private:
  using V = Simd<T>;
  static constexpr Index width = V::width;

  void zero(Range rows, Range cols) {
    for (Index r = rows.begin; r < rows.end; ++r)
      std::fill_n(c_.row(r) + cols.begin, cols.size(), T(0));
  }

  void pack_b(Range sum, Range cols) {
    const Matrix<const T> part =
        op_b_ == Op::none
            ? Matrix<const T>{b_.row(sum.begin) + cols.begin, sum.size(), cols.size(), b_.stride}
            : Matrix<const T>{b_.row(cols.begin) + sum.begin, cols.size(), sum.size(), b_.stride};
    const Index panels = panel_count<T>(cols.size()), size = sum.size() * width;
    if (op_b_ == Op::none) return pack_columns(part, 0, panels, panels_, size);
    for (Index p = 0; p < panels; ++p) pack_gates<T, 1>(part, p, panels_ + p * size);
  }

  void block(Range rows, Range cols, Range sum) {
    const T* a = a_.row(rows.begin) + sum.begin;
    Columns columns{{0, 0}, {sum.size(), 0}};
    Index stride = a_.stride;
    if (op_a_ == Op::transpose) {
      transpose(a_.row(sum.begin) + rows.begin, a_.stride, sum.size(), rows.size(), rows_,
                sum.size());
      a = rows_;
      stride = sum.size();
      columns.piece = long_sum_piece;
    }
    const bool assign = into_ == Into::assign && sum.begin == 0;
    for_tiles<T, 1>(a, stride, columns, panels_, rows.size(), panel_count<T>(cols.size()), false,
                    [&](Index first, Index count, Index panel, int panels, const T* sums) {
                      if (turned_)
                        return add_turned(rows.begin + first, count, cols, panel, panels, sums);
                      for (Index r = 0; r < count; ++r) {
                        T* const row = c_.row(rows.begin + first + r) + cols.begin;
                        for (int p = 0; p < panels; ++p, sums += width) {
                          const Index at = (panel + p) * width;
                          put(V::load(sums), row + at, std::min(width, cols.size() - at), assign);
                        }
                      }
                    });
  }

  // Adds a tile to C's columns [first, first + count).
  void add_turned(Index first, Index count, Range cols, Index panel, int panels, const T* sums) {
    for (Index r = 0; r < count; ++r) {
      for (Index p = panel; p < panel + panels; ++p, sums += width) {
        const Index row = cols.begin + p * width, lanes = std::min(width, cols.end - row);
        for (Index i = 0; i < lanes; ++i) c_.row(row + i)[first + r] += sums[i];
      }
    }
  }

  static void put(V sum, T* to, Index count, bool assign) {
    const Partial<T> lanes{count};
    lanes.store(assign ? sum : lanes.load(to) + sum, to);
  }

  const Into into_;
  const Op op_a_, op_b_;
  const Matrix<const T> a_, b_;
  const Matrix<T> c_;
  const bool turned_;
  T *const panels_, *const rows_;
};

}  // namespace

template <class T>
Index product_scratch(Index m, Index n, Index k) {
  const Index a_size = std::min(packed_a, checked_mul(m, k));
  Index size = b_size<T>(n, k) + round_up(a_size, Simd<T>::width);
  if (narrow<T>(m, n))
    size = std::max(
        size, b_size<T>(m, k) + round_up(std::min(packed_a, checked_mul(n, k)), Simd<T>::width));
  if constexpr (on_tiles<T>) return std::max(size, split_product_scratch(m, n, k));
  return size;
}

template <class T>
void product(const Worker& worker, Into into, Op op_a, Matrix<const T> a, Op op_b,
             Matrix<const T> b, Matrix<T> c, Scratch<T> scratch) {
  if constexpr (on_tiles<T>) {
    const Index rows = std::max(c.rows, scratch.problem_rows);
    if (product_on_tiles(rows, c.cols, op_a == Op::none ? a.cols : a.rows)) {
      return split_product(worker, into, op_a, a, op_b, b, c, scratch);
    }
  }
  if (into == Into::accumulate && op_a == Op::transpose && op_b == Op::none &&
      narrow<T>(c.rows, c.cols)) {
    const Range rows = worker.share(c.rows, Simd<T>::width);
    if (rows.size() == 0) return;
    return Product<T>(into, Op::transpose, b, Op::none, a, c,
                      scratch.data + worker.rank * scratch.each, true)
        .run({0, c.cols}, rows);
  }
  // Workers split the operand whose packing costs more: each packs its own part of it and all of
  // the other one. Cuts fall on whole tiles.
  using Shapes = Tiles<T, 1>;
  constexpr Index tile_cols = Shapes::main_panels * Simd<T>::width, tile_rows = Shapes::max_rows;
  const bool split_rows =
      op_a == Op::transpose ? c.rows >= tile_rows * worker.size : c.cols < tile_cols * worker.size;
  const Range rows = split_rows ? worker.share(c.rows, tile_rows) : Range{0, c.rows};
  const Range cols = split_rows ? Range{0, c.cols} : worker.share(c.cols, tile_cols);
  if (rows.size() == 0 || cols.size() == 0) return;
  Product<T>(into, op_a, a, op_b, b, c, scratch.data + worker.rank * scratch.each).run(rows, cols);
}

template <class T>
void product_in_place(const Worker& worker, Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  constexpr Index width = Simd<T>::width, rows = 4;
  alignas(64) T sums[rows * width];
  const Range cols = worker.share(c.cols, width);
  for (Index n = cols.begin; n < cols.end; n += width) {
    const Partial<T> lanes{std::min(width, cols.end - n)};
    for (Index m = 0; m < c.rows; m += rows) {
      const Index count = std::min(rows, c.rows - m);
      const DotOperands<T> operands{a.row(m), a.stride, b.row(n), b.stride, a.cols};
      dot_rows(&operands, 1, count, lanes.count, sums, width);
      for (Index r = 0; r < count; ++r) {
        lanes.store(Simd<T>::load(sums + r * width), c.row(m + r) + n);
      }
    }
  }
}

template Index product_scratch<float>(Index, Index, Index);
template Index product_scratch<double>(Index, Index, Index);
template void product(const Worker&, Into, Op, Matrix<const float>, Op, Matrix<const float>,
                      Matrix<float>, Scratch<float>);
template void product(const Worker&, Into, Op, Matrix<const double>, Op, Matrix<const double>,
                      Matrix<double>, Scratch<double>);
template void product_in_place(const Worker&, Matrix<const float>, Matrix<const float>,
                               Matrix<float>);
template void product_in_place(const Worker&, Matrix<const double>, Matrix<const double>,
                               Matrix<double>);

}  // namespace rnncore
