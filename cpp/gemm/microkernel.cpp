// The microkernel for every shape of block that fits the registers.
#include "gemm/microkernel.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "core/simd.hpp"

namespace rnncore {
namespace {

// sums[r][p][g][lane] of Rows x Panels.
template <class T>
using Microkernel = void (*)(const T* a, Index stride, const Columns& columns, const T* panels,
                             Index panel_stride, T* sums);

template <class T, int Rows, int Panels, int Gates>
void microkernel(const T* a, Index stride, const Columns& columns, const T* panels,
                 Index panel_stride, T* sums) {
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

// The shapes of blocks of panels of `Gates` packets.
template <class T, int Gates>
struct Shapes {
  static constexpr int max_rows = max_accumulators / (Gates == 1 ? block_panels : Gates);

  // The most panels of 4, 2, 1 that fit beside `rows` rows and the `left` panels still to do.
  static int panels(Index rows, Index left) {
    for (int p : {4, 2}) {
      if (p <= left && rows * p * Gates <= max_accumulators) return p;
    }
    return 1;
  }

  static Microkernel<T> kernel(Index rows, int panels) {
    const auto& row = table[static_cast<std::size_t>(rows - 1)];
    return row[panels == 4 ? 2 : panels == 2 ? 1 : 0];
  }

 private:
  template <int Rows, int Panels>
  static constexpr Microkernel<T> fitting() {
    if constexpr (Rows * Panels * Gates <= max_accumulators) {
      return &microkernel<T, Rows, Panels, Gates>;
    } else {
      return nullptr;
    }
  }

  template <std::size_t... R>
  static constexpr auto make_table(std::index_sequence<R...>) {
    return std::array<std::array<Microkernel<T>, 3>, sizeof...(R)>{
        {{fitting<R + 1, 1>(), fitting<R + 1, 2>(), fitting<R + 1, 4>()}...}};
  }

  static constexpr auto table = make_table(std::make_index_sequence<max_rows>{});
};

template <class T, int Gates>
void multiply(const T* a, Index stride, const Columns& columns, const T* packed, Index rows,
              Range panels, bool backwards, const BlockSums<T>& receive) {
  static_assert(has_microkernel(Gates));
  using Shape = Shapes<T, Gates>;
  if (rows <= 0) return;
  const Index blocks = ceil_div(rows, Index{Shape::max_rows});
  // `larger` blocks of least + 1 rows, then blocks of least.
  const Index least = rows / blocks, larger = rows % blocks;
  const Index most = least + (larger > 0 ? 1 : 0);
  const Index panel_stride = columns.total() * Gates * Simd<T>::width;
  alignas(64) T sums[max_accumulators * Simd<T>::width];
  for (Index done = 0; done < panels.size();) {
    const int count = Shape::panels(most, panels.size() - done);
    const Index panel = backwards ? panels.end - done - count : panels.begin + done;
    Index row = 0;
    for (Index i = 0; i < blocks; ++i) {
      const Index size = i < larger ? most : least;
      Shape::kernel(size, count)(a + row * stride, stride, columns, packed + panel * panel_stride,
                                 panel_stride, sums);
      receive(row, size, panel, count, sums);
      row += size;
    }
    done += count;
  }
}

}  // namespace

template <class T>
PanelProduct<T> panel_product(Index gates) {
  assert(has_microkernel(gates));
  return gates == 1 ? &multiply<T, 1> : gates == 3 ? &multiply<T, 3> : &multiply<T, 4>;
}

template PanelProduct<float> panel_product(Index);
template PanelProduct<double> panel_product(Index);

}  // namespace rnncore
