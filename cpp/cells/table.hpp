// The cell table as the engine sees it. The loops over time know no cell: a row of the table has
// the kernels that apply a cell's pointwise functions to a whole register tile at once.
#pragma once

#include <span>
#include <string_view>

#include "cells/step_arrays.hpp"
#include "cells/traits.hpp"

namespace rnncore {

// What a tile of products is handed to: the sums [row][panel][gate][lane] of some rows and panels.
// `context` is what the kernel works on.
template <class T>
using TileFunction = void (*)(const void* context, Index row, Index rows, Index panel, int panels,
                              const T* sums);

// The half of a step in front of R q, of a cell that has one.
template <class T>
struct ResetKernels {
  TileFunction<T> forward = nullptr, backward = nullptr;  // on ResetArrays, ResetBackwardArrays
  void (*stream)(const StreamArrays<T>& step, Index unit) = nullptr;
};

template <class T>
struct CellKernels {
  TileFunction<T> forward = nullptr, backward = nullptr;  // on ForwardArrays, BackwardArrays
  void (*stream)(const StreamArrays<T>& step, Index unit) = nullptr;
  ResetKernels<T> reset{};
};

// A row of the table; the letters are explained in cells/cell.hpp.
struct CellInfo {
  std::string_view name, gate_letters, slot_letters, states;
  std::span<const UnitParameter> unit_parameters;
  Wiring wiring;
  std::span<const Function> functions;  // the usual ones
  Index gates, slots, unit_rows;        // how many
  CellKernels<float> float32;           // of the usual functions
  CellKernels<double> float64;
  CellKernels<float> chosen_float32;  // of functions chosen at run time
  CellKernels<double> chosen_float64;

  template <class T>
  const CellKernels<T>& kernels(bool chosen) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return chosen ? chosen_float32 : float32;
    } else {
      return chosen ? chosen_float64 : float64;
    }
  }
};

std::span<const CellInfo> cell_table();

// The row of that name, or null.
const CellInfo* find_cell(std::string_view name);

}  // namespace rnncore
