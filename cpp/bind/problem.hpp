// What the arrays of a recurrent pass say about its sizes, checked.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/cells.hpp"
#include "sequence/args.hpp"

namespace rnncore {

// What all arrays of a call follow from.
struct Problem {
  CellInfo cell;
  Sizes sizes;
  Index gates = 0, slots = 0;   // times H
  Index rows = 0, longest = 0;  // N and L
  std::vector<Index> lengths;   // a copy: another thread may write to the array
  const Index* lengths_or_null = nullptr;

  Shape states() const { return {sizes.batch, sizes.hidden}; }
  Shape outputs() const { return {sizes.steps, sizes.batch, sizes.hidden}; }
};

inline void read_lengths(Problem& p, ArrayCheck& check, const py::object& object) {
  const Index T = p.sizes.steps, B = p.sizes.batch;
  p.rows = checked_mul(T, B);
  p.longest = T;
  if (object.is_none()) return;
  const Index* lengths = check.contiguous<Index>("lengths", object, {B});
  p.lengths.assign(lengths, lengths + B);
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
  p.lengths_or_null = p.lengths.data();
}

// `units`: the array named `name` whose columns are the hidden units.
inline Problem make_problem(const std::string& cell, ArrayCheck& check, const py::object& x,
                            const char* name, const py::object& units, const py::object& lengths) {
  Problem p;
  p.cell = find_cell(cell);
  p.sizes = {dimension("x", x, 3, 0), dimension("x", x, 3, 1), dimension("x", x, 3, 2),
             dimension(name, units, 2, 1)};
  if (p.sizes.input < 1) throw py::value_error("x: expected at least 1 feature, got 0");
  if (p.sizes.hidden < 1) {
    throw py::value_error(std::string(name) + ": expected at least 1 column, got 0");
  }
  p.gates = checked_mul(static_cast<Index>(p.cell.gates.size()), p.sizes.hidden);
  p.slots = checked_mul(static_cast<Index>(p.cell.wiring.size()), p.sizes.hidden);
  read_lengths(p, check, lengths);
  return p;
}

// `object` must be given exactly where the cell carries c.
inline void expect_c(const CellInfo& cell, const char* name, const py::object& object) {
  if (cell.has_c == !object.is_none()) return;
  throw py::value_error(std::string(name) +
                        (cell.has_c ? ": expected an array, got None, for cell '"
                                    : ": expected None, got an array, for cell '") +
                        std::string(cell.name) + "'");
}

inline void expect_both_biases(const char* second, const py::object& ih, const py::object& hh) {
  if (ih.is_none() != hh.is_none()) {
    throw py::value_error(std::string(second) + ": expected both biases or neither");
  }
}

}  // namespace rnncore
