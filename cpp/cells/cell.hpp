// What a cell is: a struct of constants, and pointwise functions on packets V = Simd<T>.
//
//   name        its name in the API
//   gates       one letter per block of H rows in W and R, in torch's order
//   wiring      one letter per slot of the pre-activations (see Wiring)
//   states      one letter per state that it carries from step to step: "h", "hc", ...; R meets h
//   functions   the usual functions of its gates, ONNX's f, g and h (cells/functions.hpp)
//   unit_parameters   optional: arrays of its own with one number per unit and row
//   forward_gates(CellForward&)    one packet of units of one row at one step: the gates
//   forward_states(CellForward&)   then `after`, from the gates
//   backward(CellBackward&)        the gates become dz, d what reaches the states before
//
// A cell whose wiring has a 'q' has two more, for the half of the step in front of R q:
//
//   forward_reset(CellReset&)            the slots that meet h become gates; q
//   backward_reset(CellResetBackward&)   after `backward`: what reaches h and those gates through q
//
// Options of a cell are its template parameters; each choice is a cell of its own in the table, but
// for the functions of the gates: a row of the table has the kernels of the usual ones, and those
// of Chosen, which read at run time what was chosen.
#pragma once

#include <array>
#include <concepts>
#include <span>
#include <string_view>

#include "cells/choice.hpp"
#include "cells/traits.hpp"
#include "core/activations.hpp"

namespace rnncore {

template <class C>
constexpr auto unit_parameters() {
  if constexpr (requires { C::unit_parameters; }) {
    return C::unit_parameters;
  } else {
    return std::array<UnitParameter, 0>{};
  }
}

// Rows of all unit parameters of a cell together.
template <class C>
constexpr std::size_t unit_rows() {
  std::size_t rows = 0;
  for (const UnitParameter& parameter : unit_parameters<C>()) rows += parameter.rows.size();
  return rows;
}

// `count` packets; of none there is one that nobody reads.
template <class V, std::size_t count>
using Packets = V[count == 0 ? 1 : count];

template <class C, class V>
struct CellForward {
  Packets<V, C::wiring.size()> z;  // the pre-activations; becomes what backward needs
  // In forward_gates of a cell without unit parameters only z is there.
  Packets<V, C::states.size()> before;  // the states of the step before
  Packets<V, C::states.size()> after;   // becomes the states of this step
  Packets<V, unit_rows<C>()> unit;      // the rows of the unit parameters
  const CellChoice* choice = nullptr;   // of a cell with Chosen functions
};

template <class C, class V>
struct CellBackward {
  Packets<V, C::wiring.size()> z;  // what forward left; becomes dz
  Packets<V, C::states.size()> before;
  // dL/d(states after); becomes dL/d(before), but for what reaches h through R.
  Packets<V, C::states.size()> d;
  Packets<V, unit_rows<C>()> unit;
  Packets<V, unit_rows<C>()> dunit;  // becomes what this step adds to dL/d(unit)
  const CellChoice* choice = nullptr;
};

template <class C, class V>
struct CellReset {
  Packets<V, C::wiring.size()> z;  // of the slots that meet h: becomes what backward needs
  V h;                             // the state before, as R meets it
  V q;                             // becomes what R meets in its place
  const CellChoice* choice = nullptr;
};

template <class C, class V>
struct CellResetBackward {
  Packets<V, C::wiring.size()> z;  // of the slots that meet h; becomes dz
  V h;
  V q;  // becomes q again
  V d;  // dL/dq; becomes dL/dh through q
  const CellChoice* choice = nullptr;
};

template <class C>
concept Resetting =
    requires(CellReset<C, Simd<float>>& forward, CellResetBackward<C, Simd<float>>& back) {
      C::forward_reset(forward);
      C::backward_reset(back);
    };

template <class C>
concept Cell =
    requires(CellForward<C, Simd<float>>& forward, CellBackward<C, Simd<float>>& back) {
      { C::name } -> std::convertible_to<std::string_view>;
      { C::gates } -> std::convertible_to<std::string_view>;
      { C::wiring } -> std::convertible_to<std::string_view>;
      { C::states } -> std::convertible_to<std::string_view>;
      { C::functions } -> std::convertible_to<std::span<const Function>>;
      C::forward_gates(forward);
      C::forward_states(forward);
      C::backward(back);
    } && C::wiring.size() <= Wiring::max_slots && C::states.front() == 'h' &&
    C::functions.size() <= max_functions && Wiring(C::wiring).has_reset() == Resetting<C>;

}  // namespace rnncore
