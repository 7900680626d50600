// What the arrays of a recurrent pass say about its sizes, checked.
#pragma once

#include <numeric>
#include <string>
#include <vector>

#include "bind/given_cell.hpp"
#include "bind/groups.hpp"

namespace rnncore {

// What all arrays of a call follow from.
struct Problem {
  const CellInfo* cell = nullptr;
  std::optional<CellChoice> choice;
  Sizes sizes;
  Index gates = 0, slots = 0;  // times H
  std::vector<Piece> pieces;   // of the sequences; the arrays may change meanwhile
  Index rows = 0, starts = 0;  // N, and R: the schedule's rows

  Shape states() const { return {sizes.batch, sizes.hidden}; }
  Shape outputs() const { return {sizes.steps, sizes.batch, sizes.hidden}; }
};

// Where sequences end and are cut.
struct Ends {
  const py::object &lengths, &resets;
  const std::string& reset_to;
  bool reverse;
};

// `units`: the array named `name` whose columns are the hidden units.
Problem make_problem(const GivenCell& cell, ArrayCheck& check, const py::object& x,
                     const ArrayName& name, const py::object& units, const Ends& ends);

// The arrays (gates, h, c) of a layer's tape: h and c of every step, or with recompute those before
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
  Index states = checked_add(p.rows, p.starts);
  if (a.recompute > 0) {
    const std::vector<Index> kept = segments(a);
    states = std::accumulate(kept.begin(), kept.end(), Index{0});
  }
  for_states(*p.cell, arrays, 1, naming, false,
             [&](std::size_t k, const ArrayName& name, const py::object& array) {
               const Shape shape{states, a.state_stride(k)};
               if constexpr (std::is_const_v<State>) {
                 tape.states[k] = check.contiguous<T>(name, array, shape);
               } else {
                 tape.states[k] = check.out_contiguous<T>(name, array, shape);
               }
             });
}

}  // namespace rnncore
