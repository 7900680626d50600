// What the arrays of a closed loop say about its sizes, checked.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "bind/problem.hpp"
#include "sequence/output.hpp"

namespace rnncore {

inline constexpr Index longest_delay = Index{1} << 20;

inline Activation find_activation(const std::string& name) {
  const char* const names[] = {"identity", "tanh", "sigmoid", "softmax"};
  for (int i = 0; i < 4; ++i) {
    if (name == names[i]) return static_cast<Activation>(i);
  }
  throw py::value_error("activation: expected identity, tanh, sigmoid or softmax, got '" + name +
                        "'");
}

// One call's arguments; a name in an error says which layer's array it is.
template <class T>
class OutputCall {
 public:
  OutputCall(const std::string& cell, const py::object& x, const py::object& weight_ho,
             const py::object& lengths)
      : p_(make_problem(cell, check, x, "weight_ho", weight_ho, lengths)) {
    o_.outputs = dimension("weight_ho", weight_ho, 2, 0);
    if (o_.outputs < 1) throw py::value_error("weight_ho: expected at least 1 row, got 0");
    o_.weight_ho = check.matrix<T>("weight_ho", weight_ho, {o_.outputs, p_.sizes.hidden});
    x_ = check.sequence<T>("x", x, {p_.sizes.steps, p_.sizes.batch, p_.sizes.input});
  }

  void read_delays(const py::object& object) {
    const py::sequence values = list_of("delays", object);
    std::vector<Index> delays;
    for (const auto& value : values) {
      const Index delay = py::isinstance<py::int_>(value) ? PyLong_AsLongLong(value.ptr()) : -1;
      if (PyErr_Occurred()) PyErr_Clear();  // of a number that no Index holds
      if (delay < 1 || delay > longest_delay) {
        throw py::value_error("delays: expected integers in [1, " + std::to_string(longest_delay) +
                              "], got " + std::string(py::repr(value)));
      }
      delays.push_back(delay);
    }
    if (delays.empty()) throw py::value_error("delays: expected at least one, got none");
    o_.delays = delays;
    o_.memory = *std::max_element(delays.begin(), delays.end());
    fed_ = checked_mul(o_.outputs, static_cast<Index>(delays.size()));
  }

  void read_weights(const py::object& weight_oh, const py::object& weight_oo,
                    const py::object& bias_o) {
    if (weight_oh.is_none() && weight_oo.is_none()) {
      throw py::value_error("weight_oh: expected weight_oh or weight_oo, got neither");
    }
    weight_oh_ = check.optional_matrix<T>("weight_oh", weight_oh, {p_.gates, fed_});
    o_.weight_oo = check.optional_matrix<T>("weight_oo", weight_oo, {o_.outputs, fed_});
    o_.bias = check.optional_contiguous<T>("bias_o", bias_o, {o_.outputs});
  }

  void read_targets(const py::object& targets, const py::object& given) {
    const auto& s = p_.sizes;
    if (targets.is_none() != given.is_none()) {
      throw py::value_error("given: expected both targets and given or neither");
    }
    o_.targets = check.optional_sequence<T>("targets", targets, outputs());
    o_.given = reinterpret_cast<const std::uint8_t*>(
        check.optional_contiguous<bool>("given", given, {s.steps, s.batch}));
  }

  // What both passes share of every layer.
  template <class Args>
  void read_layers(std::vector<Args>& layers, const py::object& object, bool reverse) {
    const py::sequence weights = list_of("layers", object);
    if (weights.size() == 0) throw py::value_error("layers: expected at least one, got none");
    if (reverse && weights.size() > 1) {
      throw py::value_error("reverse: expected one layer, got " + std::to_string(weights.size()));
    }
    layers.resize(weights.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Args& a = layers[l];
      const py::tuple own = fields("layers", l, weights[l], 4);
      a.sizes = p_.sizes;
      if (l == 0) {
        a.x = x_;
        a.sizes.fed = fed_;
        a.weight_oh = weight_oh_;
      } else {
        a.sizes.input = p_.sizes.hidden;
      }
      a.lengths = p_.lengths_or_null;
      a.reverse = reverse;
      const Index H = p_.sizes.hidden;
      a.weight_ih =
          check.template matrix<T>(name(l, "weight_ih"), own[0], {p_.gates, a.sizes.input});
      a.weight_hh = check.template optional_matrix<T>(name(l, "weight_hh"), own[1], {p_.gates, H});
      expect_both_biases(name(l, "bias_hh"), own[2], own[3]);
      a.bias_ih = check.template optional_contiguous<T>(name(l, "bias_ih"), own[2], {p_.gates});
      a.bias_hh = check.template optional_contiguous<T>(name(l, "bias_hh"), own[3], {p_.gates});
    }
  }

  // Calls f(layer, (gates, h, c)) for each layer's tape.
  template <class Args, class F>
  void read_tapes(std::vector<Args>& layers, const py::object& object, F&& f) {
    const py::sequence tapes = list_of("tapes", object);
    if (tapes.size() != layers.size()) {
      throw py::value_error("tapes: expected one for each layer, got " +
                            std::to_string(tapes.size()));
    }
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const py::tuple own = fields("tapes", l, tapes[l], 3);
      f(l, layers[l], own, Shape{p_.rows, p_.slots}, states(layers[l].state()),
        states(p_.sizes.hidden));
      expect_c(p_.cell, name(l, "tape c"), own[2]);
    }
  }

  static py::sequence list_of(const char* name, const py::object& object) {
    if (!py::isinstance<py::list>(object) && !py::isinstance<py::tuple>(object)) {
      throw py::type_error(std::string(name) + ": expected a list, got " +
                           std::string(py::str(py::type::of(object).attr("__name__"))));
    }
    return py::reinterpret_borrow<py::sequence>(object);
  }

  py::tuple fields(const char* list, std::size_t l, const py::object& item, std::size_t count) {
    const std::string where = std::string(list) + "[" + std::to_string(l) + "]";
    if (!py::isinstance<py::tuple>(item)) {
      throw py::type_error(where + ": expected a tuple of " + std::to_string(count));
    }
    const auto result = py::reinterpret_borrow<py::tuple>(item);
    if (result.size() != count) {
      throw py::value_error(where + ": expected " + std::to_string(count) + " entries, got " +
                            std::to_string(result.size()));
    }
    kept_.push_back(result);
    return result;
  }

  // "weight_ih of layer 1", for as long as the call lasts.
  const char* name(std::size_t l, const char* of) {
    return names_.emplace_back(std::string(of) + " of layer " + std::to_string(l)).c_str();
  }

  // Layer l of an array (layers, B, H).
  template <class U>
  static Matrix<U> layer_of(const Sequence<U>& states, std::size_t l) {
    if (!states) return {};
    return {states.row(static_cast<Index>(l), 0), states.batch, states.features, states.stride_b};
  }

  Shape outputs() const { return {p_.sizes.steps, p_.sizes.batch, o_.outputs}; }
  Shape memory() const { return {o_.memory, p_.sizes.batch, o_.outputs}; }
  Shape states_of(std::size_t layers) const {
    return {static_cast<Index>(layers), p_.sizes.batch, p_.sizes.hidden};
  }
  Shape states(Index row) const { return {p_.longest + 1, p_.sizes.batch, row}; }
  Shape kept_outputs() const { return {p_.longest, p_.sizes.batch, o_.outputs}; }
  Shape kept_fed() const {
    return {checked_add(o_.memory, p_.longest), p_.sizes.batch, o_.outputs};
  }

  const Problem& problem() const { return p_; }
  const OutputArgs<T>& output() const { return o_; }
  Index fed() const { return fed_; }

  ArrayCheck check;

 private:
  Problem p_;
  OutputArgs<T> o_;
  Index fed_ = 0;
  Sequence<const T> x_;
  Matrix<const T> weight_oh_;
  std::deque<std::string> names_;
  std::vector<py::tuple> kept_;  // the list they came from may change while a kernel reads arrays
};

}  // namespace rnncore
