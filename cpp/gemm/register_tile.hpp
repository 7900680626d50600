// A register tile: a few rows times a few panels, for every shape that fits the registers.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "core/simd.hpp"
#include "gemm/microkernel.hpp"

namespace rnncore {

// Weights that will be needed next, in each of the panels: per k, a kernel fetches `step` of them
// into L1. The processor does so by itself too, but not far enough ahead of a beyond-L2 read.
template <class T>
struct Ahead {
  const T* next;
  Index step;
};

// sums[r][p][g][lane] of Rows x Panels, or added to what is there.
template <class T>
using Microkernel = void (*)(const T* a, Index stride, Index depth, const T* panels,
                             Index panel_stride, bool add, T* sums, const Ahead<T>* ahead);

// Rows of a stay in registers while weights go past, or weights while rows do: whichever are fewer.
// `far`: the weights come from beyond L2.
template <class T, int Rows, int Panels, int Gates, bool far>
void microkernel(const T* a, Index stride, Index depth, const T* panels, Index panel_stride,
                 bool add, T* sums, [[maybe_unused]] const Ahead<T>* ahead) {
  using V = Simd<T>;
  constexpr int weights = Panels * Gates;
  constexpr int product = has_fused_madd ? 0 : 1;
  static_assert(Rows * weights + std::min(Rows, weights) + 1 + product <= simd_registers);
  V acc[Rows][weights];
  [[maybe_unused]] const T* next = far ? ahead->next : nullptr;
#pragma GCC unroll 32
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 32
    for (int i = 0; i < weights; ++i) acc[r][i] = V::zero();
  }
  const auto weight = [&](int i) {
    return V::load(panels + i / Gates * panel_stride + i % Gates * V::width);
  };
#pragma GCC unroll 4
  for (Index k = 0; k < depth; ++k) {
    if constexpr (far) {
      constexpr Index line = 64 / sizeof(T), most = ceil_div(Gates * V::width / 2, line);
#pragma GCC unroll 32
      for (int i = 0; i < Panels * most; ++i)
        __builtin_prefetch(next + i / most * panel_stride + i % most * line);
      next += ahead->step;
    }
    if constexpr (Rows <= weights) {
      V value[Rows];
#pragma GCC unroll 32
      for (int r = 0; r < Rows; ++r) value[r] = V::broadcast(a[r * stride + k]);
#pragma GCC unroll 32
      for (int i = 0; i < weights; ++i) {
        const V w = weight(i);
#pragma GCC unroll 32
        for (int r = 0; r < Rows; ++r) acc[r][i] = madd(value[r], w, acc[r][i]);
      }
    } else {
      V w[weights];
#pragma GCC unroll 32
      for (int i = 0; i < weights; ++i) w[i] = weight(i);
#pragma GCC unroll 32
      for (int r = 0; r < Rows; ++r) {
        const V value = V::broadcast(a[r * stride + k]);
#pragma GCC unroll 32
        for (int i = 0; i < weights; ++i) acc[r][i] = madd(value, w[i], acc[r][i]);
      }
    }
    panels += Gates * V::width;
  }
#pragma GCC unroll 32
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 32
    for (int i = 0; i < weights; ++i) {
      T* const to = sums + (r * weights + i) * V::width;
      if (add) acc[r][i] = V::load(to) + acc[r][i];
      acc[r][i].store(to);
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

  template <bool far>
  static Microkernel<T> kernel(Index rows, int panels) {
    const auto& row = table<far>[static_cast<std::size_t>(rows - 1)];
    return row[panels == 4 ? 2 : panels == 2 ? 1 : 0];
  }

 private:
  template <int Rows, int Panels, bool far>
  static constexpr Microkernel<T> fitting() {
    if constexpr (Rows * Panels * Gates <= max_accumulators) {
      return &microkernel<T, Rows, Panels, Gates, far>;
    } else {
      return nullptr;
    }
  }

  template <bool far, std::size_t... R>
  static constexpr auto make_table(std::index_sequence<R...>) {
    return std::array<std::array<Microkernel<T>, 3>, sizeof...(R)>{
        {{fitting<R + 1, 1, far>(), fitting<R + 1, 2, far>(), fitting<R + 1, 4, far>()}...}};
  }

  template <bool far>
  static constexpr auto table = make_table<far>(std::make_index_sequence<max_rows>{});
};

}  // namespace rnncore
