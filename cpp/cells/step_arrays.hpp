// The arrays of a time step that the kernels of a cell work on.
#pragma once

#include <array>

#include "cells/choice.hpp"
#include "core/types.hpp"

namespace rnncore {

// The most of any cell in the table; the engine's loops run over those that a cell has.
inline constexpr std::size_t max_states = 2, max_unit_parameters = 1;

// One of each state that a cell carries: h first.
template <class X>
using States = std::array<X, max_states>;

template <class X>
using UnitParameters = std::array<X, max_unit_parameters>;

// Rows of which each may lie anywhere: at data + offsets[r], or `stride` apart where there are no
// offsets.
template <class T>
struct ScatteredRows {
  T* data = nullptr;
  const Index* offsets = nullptr;
  Index stride = 0;

  explicit operator bool() const { return data != nullptr; }
  T* row(Index r) const { return data + (offsets != nullptr ? offsets[r] : r * stride); }
};

// What all steps of a layer share.
template <class T>
struct StepLayout {
  Index hidden = 0;        // H
  States<Index> stride{};  // from row to row of each state
  T* unit = nullptr;       // [panel][row][lane], of the unit parameters
  T* bias = nullptr;       // [panel][slot][lane]; of forward
  bool whole_z = false;    // z holds a part of every slot, not only of those with an x-part
  const CellChoice* choice = nullptr;  // for the kernels of chosen functions
};

// The arrays of a forward time step, from the first row of its product on: what
// CellKernels::forward works on. z = bias + z + sums, then the cell.
template <class T>
struct ForwardArrays {
  const StepLayout<T>* layout;
  Index sums_step;  // from one panel's sums to the next; 0: all read the same zeros
  bool keep_gates;  // write what backward needs into z
  T* z;             // (rows, S*H)
  States<const T*> before;
  States<T*> after;
  ScatteredRows<T> y;  // a copy of h, or empty
};

// The arrays of a backward time step likewise: dh = d[0] + dy + sums, then the cell.
template <class T>
struct BackwardArrays {
  const StepLayout<T>* layout;
  Index sums_step;
  T* gates;  // (rows, S*H): becomes dz
  T* dunit;  // (rows, P*H) =
  States<const T*> before;
  States<T*> d;               // (rows, H) each
  ScatteredRows<const T> dy;  // or empty: zeros
};

// The half of a forward step in front of R q: z = bias + z + sums of the slots that meet h, which
// become gates, and q.
template <class T>
struct ResetArrays {
  const StepLayout<T>* layout;
  Index sums_step;
  T* z;        // (rows, S*H)
  const T* h;  // (rows, h_stride), as R meets it
  Index h_stride;
  T* q;  // (rows, q_stride) =
  Index q_stride;
};

// The same half backward, behind the other: dq = sums.
template <class T>
struct ResetBackwardArrays {
  const StepLayout<T>* layout;
  T* gates;                     // (rows, S*H): becomes dz
  const T* h;                   // (rows, stride[0])
  ScatteredRows<const T> mask;  // times h where R meets it, or empty
  T* dh;                        // (rows, H) +=
  T* q;                         // (rows, H) =
};

// The arrays of one step of a few sequences, whose weights are read as they are stored.
template <class T>
struct StreamArrays {
  Index hidden = 0, rows = 0;
  const T* sums = nullptr;                         // [row][slot][lane] of one packet of units
  const T *bias_ih = nullptr, *bias_hh = nullptr;  // (G*H,) or null
  UnitParameters<Matrix<const T>> unit{};
  States<Matrix<const T>> before{};
  States<Matrix<T>> after{};
  const CellChoice* choice = nullptr;  // for the kernels of chosen functions
  Matrix<T> gates{}, q{};              // (B, S*H) and (B, H): what the half in front of R q leaves
};

}  // namespace rnncore
