// The sizes of a recurrent pass.
#include "bind/problem.hpp"

#include <algorithm>

namespace rnncore {
namespace {

void read_lengths(Problem& p, ArrayCheck& check, const py::object& object) {
  const Index T = p.sizes.steps, B = p.sizes.batch;
  p.rows = checked_mul(T, B);
  p.longest = T;
  if (object.is_none()) return;
  const Index* lengths = check.contiguous<Index>("lengths", object, {B});
  p.lengths.assign(lengths, lengths + B);
  p.ragged = true;
  p.rows = p.longest = 0;
  for (Index b = 0; b < B; ++b) {
    const Index length = p.lengths[static_cast<std::size_t>(b)];
    if (length < 0 || length > T) {
      throw py::value_error("lengths: expected integers in [0, " + std::to_string(T) + "], got " +
                            std::to_string(length) + " at index " + std::to_string(b));
    }
    p.rows += length;
    p.longest = std::max(p.longest, length);
  }
}

}  // namespace

Problem make_problem(const std::string& cell, ArrayCheck& check, const py::object& x,
                     const ArrayName& name, const py::object& units, const py::object& lengths) {
  Problem p;
  p.cell = &cell_named(cell);
  p.sizes = {.steps = dimension("x", x, 3, 0),
             .batch = dimension("x", x, 3, 1),
             .input = dimension("x", x, 3, 2),
             .hidden = dimension(name, units, 2, 1)};
  if (p.sizes.input < 1) throw py::value_error("x: expected at least 1 feature, got 0");
  if (p.sizes.hidden < 1) {
    throw py::value_error(name.text() + ": expected at least 1 column, got 0");
  }
  p.gates = checked_mul(p.cell->gates, p.sizes.hidden);
  p.slots = checked_mul(p.cell->slots, p.sizes.hidden);
  read_lengths(p, check, lengths);
  return p;
}

}  // namespace rnncore
