// The arguments that forward and backward of one layer share, checked.
#pragma once

#include <string>

#include "bind/problem.hpp"
#include "sequence/sequence.hpp"

namespace rnncore {

inline constexpr Index most_steps = (Index{1} << 31) - 1;

// What both passes and `segments` follow from.
template <class T>
void read_problem(LayerArgs<T>& a, const Problem& p, bool reverse, Index recompute) {
  if (recompute < 0) {
    throw py::value_error("recompute: expected 0 or more steps, got " + std::to_string(recompute));
  }
  if (recompute > 0 && p.sizes.steps > most_steps) {  // an array of strides 0 has any number
    throw py::value_error("x: expected at most " + std::to_string(most_steps) +
                          " steps with recompute, got " + std::to_string(p.sizes.steps));
  }
  a.sizes = p.sizes;
  a.lengths = p.lengths_or_null;
  a.reverse = reverse;
  a.recompute = recompute;
}

template <class T>
void read_layer(LayerArgs<T>& a, const Problem& p, ArrayCheck& check, const py::object& x,
                const py::object& weight_ih, const py::object& weight_hh, const py::object& bias_ih,
                const py::object& bias_hh) {
  const auto [steps, batch, input, hidden, fed] = p.sizes;
  expect_both_biases("bias_hh", bias_ih, bias_hh);
  a.x = check.sequence<T>("x", x, {steps, batch, input});
  a.weight_ih = check.matrix<T>("weight_ih", weight_ih, {p.gates, input});
  a.weight_hh = check.optional_matrix<T>("weight_hh", weight_hh, {p.gates, hidden});
  a.bias_ih = check.optional_contiguous<T>("bias_ih", bias_ih, {p.gates});
  a.bias_hh = check.optional_contiguous<T>("bias_hh", bias_hh, {p.gates});
}

// Values that feed back, given beforehand, and the weights U that they meet: both or neither.
template <class T>
void read_fed(LayerArgs<T>& a, Problem& p, ArrayCheck& check, const py::object& fed,
              const py::object& weight_oh) {
  if (fed.is_none() != weight_oh.is_none()) {
    throw py::value_error("weight_oh: expected both fed and weight_oh or neither");
  }
  if (fed.is_none()) return;
  const auto [steps, batch, input, hidden, none] = p.sizes;
  p.sizes.fed = a.sizes.fed = dimension("fed", fed, 3, 2);
  if (p.sizes.fed < 1) throw py::value_error("fed: expected at least 1 feature, got 0");
  a.fed = check.sequence<T>("fed", fed, {steps, batch, p.sizes.fed});
  a.weight_oh = check.matrix<T>("weight_oh", weight_oh, {p.gates, p.sizes.fed});
}

// The array whose columns are the hidden units: R, or a state where there is none.
template <class T>
Problem make_problem(const std::string& cell, ArrayCheck& check, const py::object& x,
                     const py::object& weight_hh, const char* state, const py::object& h,
                     const py::object& lengths) {
  return weight_hh.is_none() ? make_problem(cell, check, x, state, h, lengths)
                             : make_problem(cell, check, x, "weight_hh", weight_hh, lengths);
}

// h and c of the tape: every step's, or one before each segment.
template <class T>
Shape history(const Problem& p, const LayerArgs<T>& a) {
  const Index states = a.recompute > 0 ? segments(p.cell.name, a) : p.longest + 1;
  return {states, p.sizes.batch, p.sizes.hidden};
}

// The tape's gates, which `recompute` does without.
template <class T>
T* read_gates(const Problem& p, ArrayCheck& check, const py::object& gates, Index recompute) {
  if (recompute == 0) return check.out_contiguous<T>("gates", gates, {p.rows, p.slots});
  if (!gates.is_none()) throw py::value_error("gates: expected None with recompute, got an array");
  return nullptr;
}

}  // namespace rnncore
