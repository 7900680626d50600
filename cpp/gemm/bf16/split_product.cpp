// Merged products on the tile unit: both operands split and packed by blocks.
#include "gemm/bf16/tile_unit.hpp"

#if defined(RNNCORE_TILE_UNIT)

#include <algorithm>

#include "gemm/bf16/microkernel.hpp"
#include "gemm/bf16/split_product.hpp"

namespace rnncore {
namespace {

constexpr int most_parts = 3;

// Strips of both operands, `Parts` bfloat16 to a float32. A block of B in three parts is 768 KiB;
// a block of k is also the longest sum that a tile accumulates before it is added to C.
template <int Parts>
class StripKernel {
 public:
  static constexpr Index row_block = 2 * tile_size, column_block = 512;

  StripKernel(const Operands<float>& operands, float* memory)
      : operands_(operands),
        left_(reinterpret_cast<Bf16*>(memory)),
        right_(left_ + row_block / tile_size * strip_size(depth_block, Parts)) {}

  void pack_right(Range sum, Range columns) {
    const Matrix<const float>& b = operands_.b;
    columns_ = columns.size();
    for_strips(columns, sum.size(), right_, [&](Index n, Index count, Bf16* to) {
      if (operands_.op_b == Op::none) {
        rnncore::pack_right<Parts>(b.row(sum.begin) + n, b.stride, count, sum.size(), to);
      } else {
        pack_right_transposed<Parts>(b.row(n) + sum.begin, b.stride, count, sum.size(), to);
      }
    });
  }

  void pack_left(Range rows, Range sum) {
    const Matrix<const float>& a = operands_.a;
    rows_ = rows.size();
    depth_ = sum.size();
    for_strips(rows, depth_, left_, [&](Index m, Index count, Bf16* to) {
      if (operands_.op_a == Op::none) {
        rnncore::pack_left<Parts>(a.row(m) + sum.begin, a.stride, count, depth_, to);
      } else {
        pack_left_transposed<Parts>(a.row(sum.begin) + m, a.stride, count, depth_, to);
      }
    });
  }

  // Rows of one or two tiles, a group of column tiles at a time.
  template <class F>
  void multiply(F&& write) const {
    const Index strip = strip_size(depth_, Parts), row_tiles = ceil_div(rows_, tile_size);
    alignas(64) float sums[row_block * group * tile_size];
    const Bf16* right = right_;
    for (Index n = 0; n < columns_; n += group * tile_size, right += group * strip) {
      const Index count = std::min(columns_ - n, group * tile_size);
      const Index tiles = ceil_div(count, tile_size);
      multiply_strips<Parts>(left_, right, strip, row_tiles, tiles, sums);
      write(Block{{0, rows_}, {n, n + count}}, sums, tiles * tile_size);
    }
  }

 private:
  static constexpr Index group = 4;

  // Calls f(first, count, strip) for the tiles that cover a range.
  template <class F>
  static void for_strips(Range range, Index depth, Bf16* packed, F&& f) {
    for (Index i = range.begin; i < range.end; i += tile_size) {
      f(i, std::min(tile_size, range.end - i), packed);
      packed += strip_size(depth, Parts);
    }
  }

  const Operands<float> operands_;
  Bf16 *const left_, *const right_;
  Index rows_ = 0, columns_ = 0, depth_ = 0;  // of what is packed
};

// Each worker packs its share of one operand and all of the other, which should be the smaller.
Block share_of(const Worker& worker, Index rows, Index columns) {
  if (rows >= columns) return {worker.share(rows, tile_size), {0, columns}};
  return {{0, rows}, worker.share(columns, tile_size)};
}

}  // namespace

Index split_product_memory(Index n) {
  using Most = StripKernel<most_parts>;
  const Index columns = std::min(n, Most::column_block);
  const Index strips = Most::row_block / tile_size + ceil_div(columns, tile_size);
  return strips * strip_size(depth_block, most_parts) * Index{sizeof(Bf16)} / Index{sizeof(float)};
}

void split_product(const Worker& worker, Into into, const Operands<float>& operands,
                   Matrix<float> c, const ProductPlan<float>& plan) {
  const Block mine = share_of(worker, c.rows, c.cols);
  if (mine.rows.size() == 0 || mine.columns.size() == 0) return;
  const TileScope tiles(true);
  with_parts(parts_of(plan.precision()), [&](auto parts) {
    StripKernel<parts> kernel(operands, plan.memory(worker));
    blocked_product(worker, kernel, operands.depth(), mine, Destination<float>(into, c));
  });
}

}  // namespace rnncore

#endif
