// Merged products on the tile unit: both operands split and packed by blocks, B's parts kept in the
// second-level cache while A's rows go past.
#include "gemm/split_product.hpp"

#include <algorithm>

#if defined(RNNCORE_EMULATED_TILES) || defined(__AMX_BF16__)

namespace rnncore {
namespace {

// A block of B in three parts is 768 KiB. A sum of `depth_block` products is also the longest one
// that a tile accumulates before it is added to C.
constexpr Index column_block = 512;
constexpr Index row_block = 2 * tile_size, group = 4;  // rows, and tiles of columns, of one call
constexpr int most_parts = 3;

template <int Parts>
class SplitProduct {
 public:
  SplitProduct(Into into, Op op_a, Matrix<const float> a, Op op_b, Matrix<const float> b,
               Matrix<float> c, float* scratch)
      : into_(into),
        op_a_(op_a),
        op_b_(op_b),
        a_(a),
        b_(b),
        c_(c),
        left_(reinterpret_cast<Bf16*>(scratch)),
        right_(left_ + row_block / tile_size * strip_size(depth_block, Parts)) {}

  void run(Range rows, Range cols) {
    const Index depth = op_a_ == Op::none ? a_.cols : a_.rows;
    for (Index n = cols.begin; n < cols.end; n += column_block) {
      const Range to_cols{n, std::min(cols.end, n + column_block)};
      for (Index k = 0; k < depth; k += depth_block) {
        const Range sum{k, std::min(depth, k + depth_block)};
        pack_b(sum, to_cols);
        for (Index m = rows.begin; m < rows.end; m += row_block) {
          const Range to_rows{m, std::min(rows.end, m + row_block)};
          pack_a(to_rows, sum);
          block(to_rows, to_cols, sum);
        }
      }
    }
  }

 private:
  using V = Simd<float>;

  // Calls f(first, count, strip) for the tiles that cover a range.
  template <class F>
  static void for_strips(Range range, Index depth, Bf16* packed, F&& f) {
    for (Index i = range.begin; i < range.end; i += tile_size) {
      f(i, std::min(tile_size, range.end - i), packed);
      packed += strip_size(depth, Parts);
    }
  }

  void pack_a(Range rows, Range sum) {
    for_strips(rows, sum.size(), left_, [&](Index m, Index count, Bf16* to) {
      if (op_a_ == Op::none) {
        pack_left<Parts>(a_.row(m) + sum.begin, a_.stride, count, sum.size(), to);
      } else {
        pack_left_transposed<Parts>(a_.row(sum.begin) + m, a_.stride, count, sum.size(), to);
      }
    });
  }

  void pack_b(Range sum, Range cols) {
    for_strips(cols, sum.size(), right_, [&](Index n, Index count, Bf16* to) {
      if (op_b_ == Op::none) {
        pack_right<Parts>(b_.row(sum.begin) + n, b_.stride, count, sum.size(), to);
      } else {
        pack_right_transposed<Parts>(b_.row(n) + sum.begin, b_.stride, count, sum.size(), to);
      }
    });
  }

  // C's rows (one or two tiles) += the packed blocks' product, a group of column tiles at a time.
  void block(Range rows, Range cols, Range sum) {
    const bool assign = into_ == Into::assign && sum.begin == 0;
    const Index strip = strip_size(sum.size(), Parts), row_tiles = ceil_div(rows.size(), tile_size);
    alignas(64) float sums[row_block * group * tile_size];
    const Bf16* right = right_;
    for (Index n = cols.begin; n < cols.end; n += group * tile_size, right += group * strip) {
      const Index count = std::min(cols.end - n, group * tile_size);
      const Index tiles = ceil_div(count, tile_size), stride = tiles * tile_size;
      multiply_strips<Parts>(left_, right, strip, row_tiles, tiles, sums);
      for (Index r = 0; r < rows.size(); ++r) {
        put(sums + r * stride, c_.row(rows.begin + r) + n, count, assign);
      }
    }
  }

  static void put(const float* sums, float* to, Index count, bool assign) {
    for (Index i = 0; i < count; i += V::width) {
      const Partial<float> lanes{std::min<Index>(V::width, count - i)};
      const V sum = V::load(sums + i);
      lanes.store(assign ? sum : lanes.load(to + i) + sum, to + i);
    }
  }

  const Into into_;
  const Op op_a_, op_b_;
  const Matrix<const float> a_, b_;
  const Matrix<float> c_;
  Bf16 *const left_, *const right_;
};

}  // namespace

Index split_product_scratch(Index m, Index n, Index k) {
  if (!product_on_tiles(m, n, k)) return 0;
  const Index strips = row_block / tile_size + ceil_div(std::min(n, column_block), tile_size);
  return strips * strip_size(depth_block, most_parts) * Index{sizeof(Bf16)} / Index{sizeof(float)};
}

void split_product(const Worker& worker, Into into, Op op_a, Matrix<const float> a, Op op_b,
                   Matrix<const float> b, Matrix<float> c, Scratch<float> scratch) {
  // Each worker packs its share of one operand and all of the other, which should be the smaller.
  const bool split_rows = c.rows >= c.cols;
  const Range rows = split_rows ? worker.share(c.rows, tile_size) : Range{0, c.rows};
  const Range cols = split_rows ? Range{0, c.cols} : worker.share(c.cols, tile_size);
  if (rows.size() == 0 || cols.size() == 0) return;
  const TileScope tiles(true);
  with_parts(parts_of(scratch.precision), [&](auto parts) {
    SplitProduct<parts>(into, op_a, a, op_b, b, c, scratch.data + worker.rank * scratch.each)
        .run(rows, cols);
  });
}

}  // namespace rnncore

#endif
