// The blocked driver of the merged products, the same for every kernel: a block of B is packed
// once and stays in the second-level cache while A's rows go past.
#pragma once

#include <algorithm>
#include <concepts>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "gemm/product.hpp"

namespace rnncore {

template <class T>
struct Operands {
  Op op_a;
  Matrix<const T> a;
  Op op_b;
  Matrix<const T> b;

  Index depth() const { return op_a == Op::none ? a.cols : a.rows; }
};

// Some rows and columns of C.
struct Block {
  Range rows, columns;
};

// C, and how sums get there.
template <class T>
class Destination {
 public:
  Destination(Into into, Matrix<T> c) : c_(c), write_(into == Into::assign ? assign : add) {}

  // The driver computes the transpose of what is added to `c`.
  static Destination transposed(Matrix<T> c) {
    Destination result(Into::accumulate, c);
    result.write_ = add_transposed;
    return result;
  }

  // What a product of depth 0 leaves.
  void write_nothing(const Block& block) const {
    if (write_ != assign) return;
    for (Index r = block.rows.begin; r < block.rows.end; ++r) {
      std::fill_n(c_.row(r) + block.columns.begin, block.columns.size(), T(0));
    }
  }

  // The sums of a block, whose rows lie `stride` elements apart, of C's `first` block of k or a
  // later one.
  void write(const Block& block, const T* sums, Index stride, bool first) const {
    if (write_ == add_transposed) return write_transposed(block, sums, stride);
    const bool assigns = first && write_ == assign;
    for (Index r = block.rows.begin; r < block.rows.end; ++r, sums += stride) {
      T* const to = c_.row(r) + block.columns.begin;
      for (Index i = 0; i < block.columns.size(); i += V::width) {
        const Partial<T> lanes{std::min<Index>(V::width, block.columns.size() - i)};
        const V sum = V::load(sums + i);
        lanes.store(assigns ? sum : lanes.load(to + i) + sum, to + i);
      }
    }
  }

 private:
  using V = Simd<T>;
  enum Write { assign, add, add_transposed };

  void write_transposed(const Block& block, const T* sums, Index stride) const {
    for (Index r = block.rows.begin; r < block.rows.end; ++r, sums += stride) {
      for (Index i = 0; i < block.columns.size(); ++i) {
        c_.row(block.columns.begin + i)[r] += sums[i];
      }
    }
  }

  Matrix<T> c_;
  Write write_;
};

// What the driver asks of a kernel. `sum`: the block's range of k; `multiply` passes the product
// of what is packed to write(block, sums, stride), the block counted from the packed ones' start.
template <class K>
concept BlockKernel = requires(K kernel, Range range) {
  { K::row_block } -> std::convertible_to<Index>;
  { K::column_block } -> std::convertible_to<Index>;
  kernel.pack_right(range, range);  // (sum, columns)
  kernel.pack_left(range, range);   // (rows, sum)
  kernel.multiply([](const Block&, const auto*, Index) {});
};

// Leaves the rest undone where the worker's call ends early.
template <class T, BlockKernel K>
void blocked_product(const Worker& worker, K& kernel, Index depth, const Block& all,
                     const Destination<T>& c) {
  if (depth == 0) c.write_nothing(all);
  bool begun = false;
  for (Index n = all.columns.begin; n < all.columns.end; n += K::column_block) {
    const Range columns{n, std::min(all.columns.end, n + K::column_block)};
    for (Index k = 0; k < depth; k += depth_block) {
      const Range sum{k, std::min(depth, k + depth_block)};
      kernel.pack_right(sum, columns);
      for (Index m = all.rows.begin; m < all.rows.end; m += K::row_block) {
        if (begun && worker.ends()) return;
        begun = true;
        kernel.pack_left({m, std::min(all.rows.end, m + K::row_block)}, sum);
        kernel.multiply([&](const Block& part, const T* sums, Index stride) {
          c.write({{m + part.rows.begin, m + part.rows.end},
                   {n + part.columns.begin, n + part.columns.end}},
                  sums, stride, k == 0);
        });
      }
    }
  }
}

}  // namespace rnncore
