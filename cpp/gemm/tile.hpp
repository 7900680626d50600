// The register tile: a few rows times a few panels of packed weights, accumulated in registers.
#pragma once

#include <algorithm>
#include <array>
#include <limits>

#include "core/simd.hpp"

namespace rnncore {

// Accumulators that leave registers for the operands: 24 of AVX-512's 32, 12 of 16 elsewhere.
#if defined(EIGEN_VECTORIZE_AVX512)
inline constexpr int max_accumulators = 24;
#else
inline constexpr int max_accumulators = 12;
#endif

// The columns k of the left operand that take part: up to two runs (GRU's tape keeps a slot that
// the recurrent product skips). The panel's k runs on across them. A sum is cut into pieces that
// are added up: a long sum of float32 loses less that way.
struct Columns {
  std::array<Index, 2> begin{}, size{};
  Index piece = std::numeric_limits<Index>::max();
  Index total() const { return size[0] + size[1]; }
};

// sums[r][p][g][lane] = sum_k a[r * stride + k] * panel_p[k][g][lane], every sum in the order of
// k: the bits do not depend on the tile's shape.
template <class T>
using TileKernel = void (*)(const T* a, Index stride, const Columns& columns, const T* panels,
                            Index panel_stride, T* sums);

template <class T, int Rows, int Panels, int Gates>
void tile(const T* a, Index stride, const Columns& columns, const T* panels, Index panel_stride,
          T* sums) {
  using V = Simd<T>;
  bool first = true;
  for (std::size_t run = 0; run < columns.size.size(); ++run) {
    const T* x = a + columns.begin[run];
    for (Index left = columns.size[run]; left > 0;) {
      const Index count = std::min(left, columns.piece);
      V acc[Rows][Panels][Gates];
      for (auto& row : acc) {
        for (auto& panel : row) {
          for (V& v : panel) v = V::zero();
        }
      }
      for (Index k = 0; k < count; ++k) {
        V value[Rows];
        for (int r = 0; r < Rows; ++r) value[r] = V::broadcast(x[r * stride + k]);
        for (int p = 0; p < Panels; ++p) {
          for (int g = 0; g < Gates; ++g) {
            const V weight = V::load(panels + p * panel_stride + g * V::width);
            for (int r = 0; r < Rows; ++r) acc[r][p][g] = madd(value[r], weight, acc[r][p][g]);
          }
        }
        panels += Gates * V::width;
      }
      T* to = sums;
      for (auto& row : acc) {
        for (auto& panel : row) {
          for (const V& v : panel) {
            (first ? v : V::load(to) + v).store(to);
            to += V::width;
          }
        }
      }
      first = false;
      x += count;
      left -= count;
    }
  }
}

// Tile shapes for panels of `Gates` packets.
template <class T, int Gates>
struct Tiles {
  static constexpr int main_panels = Gates == 1 ? 4 : 1;
  static constexpr int max_rows = max_accumulators / (Gates * main_panels);
  static constexpr int max_sums = max_accumulators * Simd<T>::width;

  // The most panels of 4, 2, 1 that fit beside `rows` rows and the `left` panels still to do.
  static int panels(Index rows, Index left) {
    for (int p : {4, 2}) {
      if (p <= left && rows * p * Gates <= max_accumulators) return p;
    }
    return 1;
  }

  static TileKernel<T> kernel(Index rows, int panels) {
    const auto& row = table[static_cast<std::size_t>(rows - 1)];
    return row[panels == 4 ? 2 : panels == 2 ? 1 : 0];
  }

 private:
  template <int Rows, int Panels>
  static constexpr TileKernel<T> fitting() {
    if constexpr (Rows * Panels * Gates <= max_accumulators) {
      return &tile<T, Rows, Panels, Gates>;
    } else {
      return nullptr;
    }
  }

  template <std::size_t... R>
  static constexpr auto make_table(std::index_sequence<R...>) {
    return std::array<std::array<TileKernel<T>, 3>, sizeof...(R)>{
        {{fitting<R + 1, 1>(), fitting<R + 1, 2>(), fitting<R + 1, 4>()}...}};
  }

  static constexpr auto table = make_table(std::make_index_sequence<max_rows>{});
};

// Calls f(first_row, rows, first_panel, panels, sums) for every tile of rows x panels, panels
// outermost, so that a panel is read from beyond L1 once; `sums` holds the tile's products. Panels
// are taken `backwards` from the last: every other pass over the same ones then starts with those
// that the cache still holds.
template <class T, int Gates, class F>
void for_tiles(const T* a, Index stride, const Columns& columns, const T* packed, Index rows,
               Index panels, bool backwards, F&& f) {
  using Shapes = Tiles<T, Gates>;
  if (rows <= 0) return;
  const Index tiles = ceil_div(rows, Shapes::max_rows);
  const Index least = rows / tiles,
              larger = rows % tiles;  // tiles of least + 1 rows, then of least
  const Index most = least + (larger > 0 ? 1 : 0);
  const Index panel_stride = columns.total() * Gates * Simd<T>::width;
  alignas(64) T sums[Shapes::max_sums];
  for (Index done = 0; done < panels;) {
    const int count = Shapes::panels(most, panels - done);
    const Index panel = backwards ? panels - done - count : done;
    Index row = 0;
    for (Index i = 0; i < tiles; ++i) {
      const Index size = i < larger ? most : least;
      Shapes::kernel(size, count)(a + row * stride, stride, columns, packed + panel * panel_stride,
                                  panel_stride, sums);
      f(row, size, panel, count, sums);
      row += size;
    }
    done += count;
  }
}

}  // namespace rnncore
