// The right operand of a time loop: weights packed once, multiplied by a few rows at every step.
#pragma once

#include <optional>
#include <type_traits>

#include "core/arena.hpp"
#include "core/parallel.hpp"
#include "gemm/dot.hpp"
#include "gemm/pack.hpp"
#include "gemm/split_weights.hpp"
#include "gemm/tile.hpp"

namespace rnncore {

inline constexpr Index max_in_place_rows = 4;

// Forward (Gates = G): R (G*H, H) by its rows, h R^T, the gates of a block of units side by side.
// Backward (Gates = 1): R by its columns, dz R. A panel is one packet's width of hidden units.
// Float weights that meet enough rows go to the tile unit, where the variant has one.
template <class T, int Gates, bool by_columns>
class PackedWeights {
 public:
  // `columns`: those of the left operand that meet the weights; at most `rows` rows at once.
  // `in_place`: at most 4 rows, for so few steps that the weights are read as they are.
  PackedWeights(Matrix<const T> weights, const Columns& columns, Index rows, Precision precision,
                bool in_place = false)
      : weights_(weights),
        columns_(columns),
        rows_(rows),
        in_place_(in_place),
        panels_(panel_count<T>(by_columns ? weights.cols : weights.rows / Gates)),
        panel_size_(checked_mul(columns.total(), Gates * Simd<T>::width)) {
    if constexpr (may_split) {
      const Index sums = checked_mul(panels_, Gates * Simd<T>::width);
      if (tiles_pay(rows, sums, columns.total(), 12, 48)) {
        split_.emplace(weights, columns, panels_, parts_of(precision));
      }
    }
  }

  // The panels, and what the workers need besides to multiply by them.
  void plan_panels(ArenaPlan& plan) {
    if constexpr (may_split) {
      if (split_) return split_->plan_panels(plan);
    }
    if (!in_place_) plan.array(packed_, checked_mul(panels_, panel_size_));
  }
  void plan_scratch([[maybe_unused]] ArenaPlan& plan, [[maybe_unused]] int threads) {
    if constexpr (may_split) {
      if (split_) split_->plan_scratch(plan, threads, rows_);
    }
  }

  bool in_place() const { return in_place_; }
  Index panels() const { return panels_; }

  // Whether `multiply` uses the tile unit: a worker then opens a TileScope around its time loop.
  bool on_tiles() const {
    if constexpr (may_split) return split_.has_value();
    return false;
  }

  void pack(Range panels) {
    if constexpr (may_split) {
      if (split_) return split_->pack(panels);
    }
    if (in_place_) return;
    if constexpr (by_columns) {
      pack_columns(weights_, panels.begin, panels.end, packed_, panel_size_);
    } else {
      for (Index b = panels.begin; b < panels.end; ++b) {
        pack_gates<T, Gates>(weights_, b, packed_ + b * panel_size_);
      }
    }
  }

  // Calls f(first_row, rows, first_panel, panels, sums) for every tile of `rows` x `panels`; a
  // row's elements start `stride` apart. `rank`: the worker's. Turn `backwards` from pass to pass:
  // see for_tiles.
  template <class F>
  void multiply([[maybe_unused]] int rank, const T* a, Index stride, Index rows, Range panels,
                bool backwards, F&& f) const {
    if constexpr (may_split) {
      if (split_) return split_->multiply(rank, a, stride, rows, panels, f);
    }
    if constexpr (!by_columns) {
      if (in_place_) return multiply_in_place(a, stride, rows, panels, f);
    }
    for_tiles<T, Gates>(a, stride, columns_, packed_ + panels.begin * panel_size_, rows,
                        panels.size(), backwards,
                        [&](Index first, Index count, Index panel, int wide, const T* sums) {
                          f(first, count, panels.begin + panel, wide, sums);
                        });
  }

 private:
  static constexpr bool may_split = tile_unit::present && std::is_same_v<T, float>;
  using Split = std::conditional_t<may_split, SplitWeights<Gates, by_columns>, std::nullptr_t>;

  template <class F>
  void multiply_in_place(const T* a, Index stride, Index rows, Range panels, F&& f) const {
    constexpr int width = Simd<T>::width;
    const Index units = weights_.rows / Gates;
    alignas(64) T sums[max_in_place_rows * Gates * width];
    for (Index panel = panels.begin; rows > 0 && panel < panels.end; ++panel) {
      const Index first = panel * width;
      for (int g = 0; g < Gates; ++g) {
        const DotOperands<T> operands{a, stride, weights_.row(g * units + first), weights_.stride,
                                      weights_.cols};
        dot_rows(&operands, 1, rows, std::min<Index>(width, units - first), sums + g * width,
                 Index{Gates * width});
      }
      f(Index{0}, rows, panel, 1, sums);
    }
  }

  const Matrix<const T> weights_;
  const Columns columns_;
  const Index rows_;
  const bool in_place_;
  const Index panels_, panel_size_;
  T* packed_ = nullptr;
  std::optional<Split> split_;
};

}  // namespace rnncore
