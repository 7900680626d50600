// One time step of one layer for a few sequences, without scratch memory or packing.
#pragma once

#include <string_view>

#include "core/parallel.hpp"
#include "core/types.hpp"

namespace rnncore {

template <class T>
struct StepArgs {
  Matrix<const T> x;                               // (B, I)
  Matrix<const T> h_prev, c_prev;                  // (B, H); c_prev empty where the cell has no c
  Matrix<const T> weight_ih, weight_hh;            // (G*H, I), (G*H, H)
  const T *bias_ih = nullptr, *bias_hh = nullptr;  // (G*H,) or null
  Matrix<T> h, c;                                  // (B, H)
};

// Sequences that one step takes.
inline constexpr Index max_step_rows = 4;

// Called by every worker of a team; each computes its share of the units.
template <class T>
using StepKernel = void (*)(const Worker&, const StepArgs<T>&);

// The kernel of a cell of the table, or null.
template <class T>
StepKernel<T> step_kernel(std::string_view cell);

}  // namespace rnncore
