// Which kernel runs a product: the one place that decides it.
//
// The problem decides, never a worker's share of it nor the chunk at hand, so that the bits depend
// on neither. Every kernel sums in an order of its own; within one, a row's bits are the same
// whatever the rows beside it.
#pragma once

#include <limits>
#include <type_traits>

#include "core/simd.hpp"
#include "core/types.hpp"
#include "gemm/bf16/tile_unit.hpp"

namespace rnncore {

enum class Kernel {
  gemv,    // dot products along the weights where they lie (gemv.hpp)
  panels,  // packed panels, sums in registers (microkernel.hpp)
  tiles,   // split into bfloat16, on the tile unit (bf16/)
};

// Any number of rows.
inline constexpr Index many_rows = std::numeric_limits<Index>::max();

// An (rows x depth) (depth x columns) product.
struct ProductSize {
  Index rows = 0;  // of the whole problem
  Index columns = 0, depth = 0;
  // Whether a row must have the same bits however many rows there are: the kernel is then the one
  // of many rows.
  bool batch_invariant = false;

  Index deciding_rows() const { return batch_invariant ? many_rows : rows; }
};

// Products in float32 may go to the tile unit, where the variant has one.
template <class T>
inline constexpr bool may_use_tiles = has_tile_unit && std::is_same_v<T, float>;

// Rows that a gemv takes at once.
inline constexpr Index max_gemv_rows = 4;

// Whether `rows` rows are too few to repay the packing of weights `depth` deep (measured on a
// Zen 4: a tie at 10 rows of 128 and 15 of 256; packing cost up to 1.6 times as much at 9 rows of
// 1024 on a Xeon). Dot products are also the more exact.
constexpr bool few_rows(Index rows, Index depth) {
  return rows <= 4 || (rows < 16 && rows * 16 <= depth);
}

// Whether the tile unit pays. Six tile products take about half the time of float32 multiply-adds,
// so that a tile half empty gains nothing; and `least_rows` must repay splitting and packing the
// other operand (some 0.3 ns an element). From those numbers, not from measured crossings.
template <class T>
constexpr bool tiles_pay(const ProductSize& size, Index least_rows) {
  return may_use_tiles<T> && size.deciding_rows() >= least_rows && size.columns >= 48 &&
         size.depth >= 24;
}

// A product whose operands meet once: both are packed as it goes along.
template <class T>
constexpr Kernel choose_product(const ProductSize& size) {
  return tiles_pay<T>(size, 48) ? Kernel::tiles : Kernel::panels;
}

// W x of all time steps: the same, but few rows pack nothing.
template <class T>
constexpr Kernel choose_input_product(const ProductSize& size) {
  return few_rows(size.deciding_rows(), size.depth) ? Kernel::gemv : choose_product<T>(size);
}

// The rows that meet the weights of a time loop.
struct LoopRows {
  Index at_once = 0;        // in one product, at most
  Index total = many_rows;  // in all steps together
  bool batch_invariant = false;
  // The depth that few rows are held against, where it is not that of the sums: a layer goes by H,
  // whether or not values fed back lengthen its sums.
  Index gemv_depth = 0;
};

// Weights packed once for products at every step.
template <class T>
constexpr Kernel choose_loop_product(const LoopRows& rows, Index columns, Index depth) {
  const ProductSize size{rows.at_once, columns, depth, rows.batch_invariant};
  if (tiles_pay<T>(size, 12)) return Kernel::tiles;
  const bool few = size.deciding_rows() <= max_gemv_rows &&
                   few_rows(rows.total, rows.gemv_depth > 0 ? rows.gemv_depth : depth);
  return few ? Kernel::gemv : Kernel::panels;
}

// Whether C += A^T B is computed as the transpose of B^T A: a few columns fill no block of
// registers, but as rows they do. (A weight gradient of few inputs; measured on a Zen 4.)
template <class T>
constexpr bool runs_transposed(Index rows, Index columns) {
  return columns <= 2 * Simd<T>::width && rows >= 4 * Simd<T>::width;
}

}  // namespace rnncore
