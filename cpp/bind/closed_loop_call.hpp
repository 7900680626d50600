// What the arrays of a closed loop say about its sizes, checked.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "bind/problem.hpp"
#include "recurrence/feedback/closed_loop.hpp"

namespace rnncore {

Activation find_activation(const std::string& name);

// Integers of at least 1, at least one of them.
std::vector<Index> read_delays(const py::object& object);

// What both passes get besides their own arrays.
struct ClosedLoopOptions {
  const std::string& activation;
  const py::object &cell, &x, &layers, &readout, &delays;
  Ends ends;
};

// One call's arguments; a name in an error says which layer's array it is.
template <class T>
class ClosedLoopCall {
 public:
  explicit ClosedLoopCall(const ClosedLoopOptions& options)
      : o_(options),
        readout_(group("readout", o_.readout, 4)),
        p_(make_problem(GivenCell(o_.cell), check, o_.x, "weight_ho", readout_[1], o_.ends)) {
    f_.outputs = dimension("weight_ho", readout_[1], 2, 0);
    if (f_.outputs < 1) throw py::value_error("weight_ho: expected at least 1 row, got 0");
    f_.activation = find_activation(o_.activation);
    f_.delays = read_delays(o_.delays);
    f_.longest_delay = *std::max_element(f_.delays.begin(), f_.delays.end());
    fed_ = checked_mul(f_.outputs, static_cast<Index>(f_.delays.size()));
    const py::object u = readout_[0], q = readout_[2];
    if (u.is_none() && q.is_none()) {
      throw py::value_error("weight_oh: expected weight_oh or weight_oo, got neither");
    }
    const Index O = f_.outputs;
    weight_oh_ = check.optional_matrix<T>("weight_oh", u, {p_.gates, fed_});
    f_.weights.weight_ho = check.matrix<T>("weight_ho", readout_[1], {O, p_.sizes.hidden});
    f_.weights.weight_oo = check.optional_matrix<T>("weight_oo", q, {O, fed_});
    f_.weights.bias = check.optional_contiguous<T>("bias_o", readout_[3], {O});
  }

  // The targets that feed back where the mask says so.
  void read_targets(const py::object& targets, const py::object& mask) {
    expect_both("teacher_forcing", targets, mask,
                "expected both targets and teacher_forcing or neither");
    f_.targets = check.optional_sequence<T>("targets", targets, outputs());
    read_mask(mask);
  }

  // The mask alone, which is all that backward needs.
  void read_mask(const py::object& mask) {
    f_.teacher_forcing =
        check.optional_flags("teacher_forcing", mask, {p_.sizes.steps, p_.sizes.batch});
  }

  // What both passes share of every layer.
  template <class Args>
  void read_layers(std::vector<Args>& layers) {
    const py::tuple all = list_of("layers", o_.layers);
    if (all.size() == 0) throw py::value_error("layers: expected at least one, got none");
    if (o_.ends.reverse && all.size() > 1) {
      throw py::value_error("reverse: expected one layer, got " + std::to_string(all.size()));
    }
    layers.resize(all.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Args& a = layers[l];
      a.cell = p_.cell;
      a.choice = p_.choice;
      a.sizes = p_.sizes;
      a.sizes.input = l == 0 ? p_.sizes.input : p_.sizes.hidden;
      a.pieces = p_.pieces;
      a.reverse = o_.ends.reverse;
      groups_.emplace_back(item("layers", l), *p_.cell, all[l],
                           Naming{"", "", static_cast<int>(l)});
      a.weights = groups_.back().template read<T>(check, a.sizes.input, p_.sizes.hidden);
    }
    const auto [steps, batch, input, hidden, none] = p_.sizes;
    layers[0].x = check.sequence<T>("x", o_.x, {steps, batch, input});
    layers[0].sizes.fed = fed_;
    layers[0].weights.weight_oh = weight_oh_;
  }

  // One (gates, h, c) for each layer.
  template <class Args>
  void read_tapes(std::vector<Args>& layers, const py::object& object) {
    const py::tuple tapes = list_of("tapes", object);
    if (tapes.size() != layers.size()) {
      throw py::value_error("tapes: expected one for each layer, got " +
                            std::to_string(tapes.size()));
    }
    for (std::size_t l = 0; l < layers.size(); ++l) {
      kept_.push_back(group(item("tapes", l), tapes[l], 1 + max_states));
      read_tape(layers[l].tape, check, p_, layers[l], kept_.back(), {"", "", static_cast<int>(l)});
    }
  }

  // The gradients of the layers' weights and of the readout's, U's among them.
  void read_gradients(ClosedLoopBackwardArgs<T>& a, const py::object& dlayers,
                      const py::object& dreadout) {
    const py::tuple all = list_of("dlayers", dlayers);
    if (all.size() != a.layers.size()) {
      throw py::value_error("dlayers: expected one for each layer, got " +
                            std::to_string(all.size()));
    }
    const Index H = p_.sizes.hidden, O = f_.outputs;
    for (std::size_t l = 0; l < a.layers.size(); ++l) {
      const WeightGroup& to = groups_.emplace_back(item("dlayers", l), *p_.cell, all[l],
                                                   Naming{"d", "", static_cast<int>(l)});
      a.layers[l].gradients =
          to.template write<T>(check, a.layers[l].sizes.input, H, groups_[l].weight_hh());
    }
    kept_.push_back(group("dreadout", dreadout, 4));
    const py::tuple& to = kept_.back();
    const char* const both = "expected None exactly where the weight is None";
    expect_both("dweight_oh", readout_[0], to[0], both);
    expect_both("dweight_oo", readout_[2], to[2], both);
    a.layers[0].gradients.weight_oh =
        check.optional_out_matrix<T>("dweight_oh", to[0], {p_.gates, fed_});
    a.gradients.weight_ho = check.out_matrix<T>("dweight_ho", to[1], {O, H});
    a.gradients.weight_oo = check.optional_out_matrix<T>("dweight_oo", to[2], {O, fed_});
    a.gradients.bias = check.optional_out_contiguous<T>("dbias_o", to[3], {O});
  }

  // Layer l of an array (layers, B, H).
  template <class U>
  static Matrix<U> layer_of(const Sequence<U>& states, std::size_t l) {
    if (!states) return {};
    return {states.row(static_cast<Index>(l), 0), states.batch, states.features, states.stride_b};
  }

  Shape outputs() const { return {p_.sizes.steps, p_.sizes.batch, f_.outputs}; }
  Shape values() const { return {f_.longest_delay, p_.sizes.batch, f_.outputs}; }
  Shape states_of(std::size_t layers) const {
    return {static_cast<Index>(layers), p_.sizes.batch, p_.sizes.hidden};
  }
  Shape kept_outputs() const { return {p_.rows, f_.outputs}; }
  Shape kept_values() const {
    return {checked_add(checked_mul(f_.longest_delay, p_.starts), p_.rows), f_.outputs};
  }

  const Problem& problem() const { return p_; }
  const FeedbackArgs<T>& feedback() const { return f_; }

  ArrayCheck check;

 private:
  static std::string item(const char* list, std::size_t l) {
    return std::string(list) + "[" + std::to_string(l) + "]";
  }

  const ClosedLoopOptions& o_;
  const py::tuple readout_;  // (weight_oh, weight_ho, weight_oo, bias_o)
  Problem p_;
  FeedbackArgs<T> f_;
  Index fed_ = 0;
  Matrix<const T> weight_oh_;
  std::deque<WeightGroup> groups_;  // the lists they came from may change while a kernel runs
  std::deque<py::tuple> kept_;      // likewise
};

}  // namespace rnncore
