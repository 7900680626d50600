// The right operand of a time loop on the tile unit: split and packed once.
#pragma once

#include "core/arena.hpp"
#include "core/parallel.hpp"
#include "gemm/split_tile.hpp"
#include "gemm/tile.hpp"

namespace rnncore {

template <int Gates, bool by_columns>
class SplitWeights;

#if defined(__AVX512F__)

// Strip [panel][gate] covers the gate's columns of that panel; its depth runs over both runs of
// `Columns`, each a whole number of blocks. All parts stay, also where they outgrow the
// second-level cache.
template <int Gates, bool by_columns>
class SplitWeights {
 public:
  SplitWeights(Matrix<const float> weights, const Columns& columns, Index panels, int parts)
      : weights_(weights), columns_(columns), panels_(panels), parts_(parts) {
    for (const Index size : columns.size) strip_ = checked_add(strip_, strip_size(size, parts));
  }

  void plan_panels(ArenaPlan& plan) {
    plan.array(packed_, checked_mul(checked_mul(panels_, Gates), strip_) / 2);
  }

  void plan_scratch(ArenaPlan& plan, int threads, Index rows) {
    left_each_ = checked_mul(ceil_div(rows, tile_size), strip_) / 2;
    plan.array(left_, checked_mul(threads, left_each_));
  }

  void pack(Range panels) {
    with_parts(parts_, [&](auto parts) {
      for (Index b = panels.begin; b < panels.end; ++b) {
        for (Index g = 0; g < Gates; ++g) pack_strip<parts>(b, g, right(b) + g * strip_);
      }
    });
  }

  template <class F>
  void multiply(int rank, const float* a, Index stride, Index rows, Range panels, F&& f) const {
    if (rows <= 0 || panels.size() <= 0) return;
    with_parts(parts_, [&](auto parts) {
      Bf16* const left = reinterpret_cast<Bf16*>(left_ + rank * left_each_);
      pack_rows<parts>(a, stride, rows, left);
      alignas(64) float sums[2 * tile_size * group * Gates * tile_size];
      for (Index b = panels.begin; b < panels.end; b += group) {
        const Index count = std::min(group, panels.end - b);
        for (Index r = 0; r < rows; r += 2 * tile_size) {
          const Index some = std::min(2 * tile_size, rows - r);
          multiply_strips<parts>(left + r / tile_size * strip_, right(b), strip_,
                                 ceil_div(some, tile_size), count * Gates, sums);
          f(r, some, b, static_cast<int>(count), sums);
        }
      }
    });
  }

 private:
  // Panels of one call: an even number of column tiles, and few enough that the sums stay in L1.
  static constexpr Index group = Gates == 1 ? 4 : Gates == 3 ? 2 : 1;

  Bf16* right(Index panel) const {
    return reinterpret_cast<Bf16*>(packed_) + panel * Gates * strip_;
  }

  template <int Parts>
  void pack_strip(Index panel, Index gate, Bf16* to) const {
    const Index units = by_columns ? weights_.cols : weights_.rows / Gates;
    const Index first = panel * tile_size, count = std::min(tile_size, units - first);
    Index k = 0;
    for (const Index size : columns_.size) {
      if constexpr (by_columns) {
        pack_right<Parts>(weights_.row(k) + first, weights_.stride, count, size, to);
      } else {
        pack_right_transposed<Parts>(weights_.row(gate * units + first) + k, weights_.stride, count,
                                     size, to);
      }
      k += size;
      to += strip_size(size, Parts);
    }
  }

  template <int Parts>
  void pack_rows(const float* a, Index stride, Index rows, Bf16* to) const {
    for (Index r = 0; r < rows; r += tile_size) {
      for (std::size_t run = 0; run < columns_.size.size(); ++run) {
        pack_left<Parts>(a + r * stride + columns_.begin[run], stride,
                         std::min(tile_size, rows - r), columns_.size[run], to);
        to += strip_size(columns_.size[run], Parts);
      }
    }
  }

  const Matrix<const float> weights_;
  const Columns columns_;
  const Index panels_;
  const int parts_;
  Index strip_ = 0, left_each_ = 0;  // elements of a strip; floats of each worker's left operand
  float *packed_ = nullptr, *left_ = nullptr;
};

#endif

}  // namespace rnncore
