// What the arrays of a recurrent pass say about its sizes, checked.
#pragma once

#include <string>
#include <vector>

#include "bind/groups.hpp"

namespace rnncore {

// What all arrays of a call follow from.
struct Problem {
  const CellInfo* cell = nullptr;
  Sizes sizes;
  Index gates = 0, slots = 0;   // times H
  Index rows = 0, longest = 0;  // N and L
  std::vector<Index> lengths;   // a copy: another thread may write to the array
  bool ragged = false;

  const Index* lengths_or_null() const { return ragged ? lengths.data() : nullptr; }
  Shape states() const { return {sizes.batch, sizes.hidden}; }
  Shape outputs() const { return {sizes.steps, sizes.batch, sizes.hidden}; }
};

// `units`: the array named `name` whose columns are the hidden units.
Problem make_problem(const std::string& cell, ArrayCheck& check, const py::object& x,
                     const ArrayName& name, const py::object& units, const py::object& lengths);

// The arrays (gates, h, c) of a layer's tape: h and c of every step, or with recompute one before
// each segment and no gates.
template <class T, class State>
void read_tape(Tape<T, State>& tape, ArrayCheck& check, const Problem& p, const LayerArgs<T>& a,
               const py::tuple& arrays, const Naming& naming = {}) {
  const py::object gates = arrays[0];
  if (a.recompute == 0) {
    tape.gates = check.out_contiguous<T>(naming("gates"), gates, {p.rows, p.slots});
  } else if (!gates.is_none()) {
    throw py::value_error("gates: expected None with recompute, got an array");
  }
  const Index count = a.recompute > 0 ? segments(a) : p.longest + 1;
  for_states(*p.cell, arrays, 1, naming, false,
             [&](std::size_t k, const ArrayName& name, const py::object& array) {
               const Shape shape{count, p.sizes.batch, a.state_stride(k)};
               if constexpr (std::is_const_v<State>) {
                 tape.states[k] = check.contiguous<T>(name, array, shape);
               } else {
                 tape.states[k] = check.out_contiguous<T>(name, array, shape);
               }
             });
}

}  // namespace rnncore
