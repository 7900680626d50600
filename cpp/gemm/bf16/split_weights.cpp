// Weights split into bfloat16 strips, and the rows that meet them.
#include "gemm/bf16/tile_unit.hpp"

#if defined(RNNCORE_TILE_UNIT)

#include <algorithm>

#include "gemm/bf16/microkernel.hpp"
#include "gemm/bf16/split_weights.hpp"

namespace rnncore {
namespace {

// Panels of one call: an even number of column tiles, and few enough that the sums stay in L1.
constexpr Index panels_at_once(Index gates) {
  return gates == 1 ? 4 : gates == 4 ? 1 : 2;
}
constexpr Index most_column_tiles = 6;

}  // namespace

SplitWeights::SplitWeights(const WeightLayout<float>& layout, Index rows, Precision precision)
    : layout_(layout), parts_(parts_of(precision)) {
  for (const Index size : layout.columns.size) {
    strip_ = checked_add(strip_, strip_size(size, parts_));
  }
  left_each_ = checked_mul(ceil_div(rows, tile_size), strip_) / 2;
}

void SplitWeights::plan_panels(ArenaPlan& plan) {
  plan.array(packed_, checked_mul(checked_mul(layout_.panels(), layout_.gates), strip_) / 2);
}

void SplitWeights::plan_scratch(ArenaPlan& plan, int threads) {
  plan.array(left_, checked_mul(threads, left_each_));
}

void SplitWeights::pack(Range panels) {
  with_parts(parts_, [&](auto parts) {
    for (Index b = panels.begin; b < panels.end; ++b) {
      for (Index g = 0; g < layout_.gates; ++g) pack_gate<parts>(b, g, strips(b) + g * strip_);
    }
  });
}

template <int Parts>
void SplitWeights::pack_gate(Index panel, Index gate, Bf16* to) const {
  const Matrix<const float>& weights = layout_.weights;
  const Index first = panel * tile_size, count = std::min(tile_size, layout_.units() - first);
  Index k = 0;
  for (const Index size : layout_.columns.size) {
    if (layout_.by_columns) {
      pack_right<Parts>(weights.row(k) + first, weights.stride, count, size, to);
    } else {
      const float* const from = weights.row(layout_.first_row(gate) + first) + k;
      pack_right_transposed<Parts>(from, weights.stride, count, size, to);
    }
    k += size;
    to += strip_size(size, Parts);
  }
}

void SplitWeights::multiply(int thread, const float* a, Index stride, Index rows, Range panels,
                            bool, const BlockSums<float>& receive) const {
  if (rows <= 0 || panels.size() <= 0) return;
  Bf16* const left = reinterpret_cast<Bf16*>(left_ + thread * left_each_);
  with_parts(parts_, [&](auto parts) {
    pack_rows<parts>(a, stride, rows, left);
    multiply_parts<parts>(left, rows, panels, receive);
  });
}

template <int Parts>
void SplitWeights::pack_rows(const float* a, Index stride, Index rows, Bf16* to) const {
  const Columns& columns = layout_.columns;
  for (Index r = 0; r < rows; r += tile_size) {
    for (std::size_t run = 0; run < columns.size.size(); ++run) {
      pack_left<Parts>(a + r * stride + columns.begin[run], stride, std::min(tile_size, rows - r),
                       columns.size[run], to);
      to += strip_size(columns.size[run], Parts);
    }
  }
}

template <int Parts>
void SplitWeights::multiply_parts(const Bf16* left, Index rows, Range panels,
                                  const BlockSums<float>& receive) const {
  constexpr Index most_rows = 2 * tile_size;
  const Index gates = layout_.gates;
  const Index group = panels_at_once(gates);
  alignas(64) float sums[most_rows * most_column_tiles * tile_size];
  for (Index b = panels.begin; b < panels.end; b += group) {
    const Index count = std::min(group, panels.end - b);
    for (Index r = 0; r < rows; r += most_rows) {
      const Index some = std::min(most_rows, rows - r);
      multiply_strips<Parts>(left + r / tile_size * strip_, strips(b), strip_,
                             ceil_div(some, tile_size), count * gates, sums);
      receive(r, some, b, static_cast<int>(count), sums);
    }
  }
}

}  // namespace rnncore

#endif
