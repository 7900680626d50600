// The sizes of a recurrent pass.
#include "bind/problem.hpp"

namespace rnncore {
namespace {

std::vector<Index> read_lengths(const Sizes& sizes, ArrayCheck& check, const py::object& object) {
  if (object.is_none()) return {};
  std::vector<Index> lengths = check.integers("lengths", object, sizes.batch);
  expect_up_to(sizes.steps, "lengths", lengths);
  return lengths;
}

bool read_reset_to(const std::string& reset_to) {
  if (reset_to == "zeros" || reset_to == "state") return reset_to == "state";
  throw py::value_error("reset_to: expected zeros or state, got '" + reset_to + "'");
}

// Cuts the sequences, and counts their rows.
void read_ends(Problem& p, ArrayCheck& check, const Ends& ends) {
  const Sizes& s = p.sizes;
  p.rows = checked_mul(s.steps, s.batch);
  p.starts = s.batch;
  const std::vector<Index> lengths = read_lengths(s, check, ends.lengths);
  const Resets resets{check.optional_flags("resets", ends.resets, {s.steps, s.batch}),
                      read_reset_to(ends.reset_to)};
  p.pieces = cut_into_pieces(s, lengths.empty() ? nullptr : lengths.data(), resets, ends.reverse);
  if (p.pieces.empty()) return;
  p.rows = 0;
  p.starts = static_cast<Index>(p.pieces.size());
  for (const Piece& piece : p.pieces) p.rows += piece.length;
}

}  // namespace

Problem make_problem(const GivenCell& cell, ArrayCheck& check, const py::object& x,
                     const ArrayName& name, const py::object& units, const Ends& ends) {
  Problem p;
  p.cell = &cell.info();
  p.choice = cell.choice;
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
  read_ends(p, check, ends);
  return p;
}

}  // namespace rnncore
