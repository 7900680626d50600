// Bindings of the closed loop: output_forward, output_backward.
#include <algorithm>
#include <deque>
#include <string>

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/problem.hpp"
#include "core/parallel.hpp"
#include "sequence/readout.hpp"

namespace rnncore {
namespace {

constexpr Index longest_delay = Index{1} << 20;

Activation find_activation(const std::string& name) {
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

  void read_delays(const py::sequence& values) {
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
  void read_layers(std::vector<Args>& layers, const py::sequence& weights, bool reverse) {
    if (weights.size() == 0) throw py::value_error("layers: expected at least one, got none");
    if (reverse && weights.size() > 1) {
      throw py::value_error("reverse: expected one layer, got " + std::to_string(weights.size()));
    }
    layers.resize(weights.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Args& a = layers[l];
      const py::sequence own = fields("layers", l, weights[l], 4);
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
  void read_tapes(std::vector<Args>& layers, const py::sequence& tapes, F&& f) {
    if (tapes.size() != layers.size()) {
      throw py::value_error("tapes: expected one for each layer, got " +
                            std::to_string(tapes.size()));
    }
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const py::sequence own = fields("tapes", l, tapes[l], 3);
      f(l, layers[l], own, Shape{p_.rows, p_.slots}, states(layers[l].state()),
        states(p_.sizes.hidden));
      expect_c(p_.cell, name(l, "tape c"), own[2]);
    }
  }

  py::sequence fields(const char* list, std::size_t l, const py::object& item, std::size_t count) {
    const std::string where = std::string(list) + "[" + std::to_string(l) + "]";
    if (!py::isinstance<py::tuple>(item)) {
      throw py::type_error(where + ": expected a tuple of " + std::to_string(count));
    }
    const auto result = py::reinterpret_borrow<py::sequence>(item);
    if (result.size() != count) {
      throw py::value_error(where + ": expected " + std::to_string(count) + " entries, got " +
                            std::to_string(result.size()));
    }
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
};

void bind_output_forward(const std::string& cell, const py::object& x, const py::sequence& layers,
                         const py::object& weight_oh, const py::object& weight_ho,
                         const py::object& weight_oo, const py::object& bias_o,
                         const std::string& activation, const py::sequence& delays,
                         const py::object& targets, const py::object& given, const py::object& h_0,
                         const py::object& c_0, const py::object& y_0, const py::object& lengths,
                         bool reverse, const py::object& y, const py::object& h_n,
                         const py::object& c_n, const py::object& y_n, const py::object& tapes,
                         const py::object& tape_y, const py::object& tape_fed) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    OutputCall<T> call(cell, x, weight_ho, lengths);
    ArrayCheck& check = call.check;
    call.read_delays(delays);
    call.read_weights(weight_oh, weight_oo, bias_o);
    call.read_targets(targets, given);
    const CellInfo& info = call.problem().cell;
    expect_c(info, "c_0", c_0);
    expect_c(info, "c_n", c_n);
    OutputForwardArgs<T> a;
    call.read_layers(a.layers, layers, reverse);
    const Shape states = call.states_of(a.layers.size());
    const auto first_h = check.template sequence<T>("h_0", h_0, states);
    const auto first_c = check.template optional_sequence<T>("c_0", c_0, states);
    const auto last_h = check.template out_sequence<T>("h_n", h_n, states);
    const auto last_c = check.template optional_out_sequence<T>("c_n", c_n, states);
    for (std::size_t l = 0; l < a.layers.size(); ++l) {
      a.layers[l].h_0 = call.layer_of(first_h, l);
      a.layers[l].c_0 = call.layer_of(first_c, l);
      a.layers[l].h_n = call.layer_of(last_h, l);
      a.layers[l].c_n = call.layer_of(last_c, l);
    }
    a.y_0 = check.template sequence<T>("y_0", y_0, call.memory());
    a.y = check.template out_sequence<T>("y", y, call.outputs());
    a.y_n = check.template out_sequence<T>("y_n", y_n, call.memory());
    if (!tapes.is_none()) {
      call.read_tapes(
          a.layers, tapes,
          [&](std::size_t l, ForwardArgs<T>& layer, const py::sequence& own, const Shape& gates,
              const Shape& h, const Shape& c) {
            layer.tape = {check.template out_contiguous<T>(call.name(l, "gates"), own[0], gates),
                          check.template out_contiguous<T>(call.name(l, "h"), own[1], h),
                          check.template optional_out_contiguous<T>(call.name(l, "c"), own[2], c)};
          });
      a.tape = {check.template out_contiguous<T>("tape_y", tape_y, call.kept_outputs()),
                check.template out_contiguous<T>("tape_fed", tape_fed, call.kept_fed())};
    }
    check.no_overlap();
    a.output = call.output();
    a.output.activation = find_activation(activation);
    const py::gil_scoped_release release;
    output_forward<T>(info.name, a);
  });
}

void bind_output_backward(const std::string& cell, const py::object& x, const py::sequence& layers,
                          const py::object& weight_oh, const py::object& weight_ho,
                          const py::object& weight_oo, const std::string& activation,
                          const py::sequence& delays, const py::object& given,
                          const py::object& lengths, bool reverse, const py::object& tapes,
                          const py::object& tape_y, const py::object& tape_fed,
                          const py::object& dy, const py::object& dh_n, const py::object& dc_n,
                          const py::object& dy_n, const py::object& dx, const py::object& dh_0,
                          const py::object& dc_0, const py::object& dy_0, const py::sequence& grads,
                          const py::object& dweight_oh, const py::object& dweight_ho,
                          const py::object& dweight_oo, const py::object& dbias_o) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    OutputCall<T> call(cell, x, weight_ho, lengths);
    ArrayCheck& check = call.check;
    const Problem& p = call.problem();
    call.read_delays(delays);
    call.read_weights(weight_oh, weight_oo, py::none());
    OutputBackwardArgs<T> a;
    call.read_layers(a.layers, layers, reverse);
    expect_c(p.cell, "dc_0", dc_0);
    if (!dc_n.is_none()) expect_c(p.cell, "dc_n", dc_n);
    const Shape states = call.states_of(a.layers.size());
    const auto last_h = check.template optional_sequence<T>("dh_n", dh_n, states);
    const auto last_c = check.template optional_sequence<T>("dc_n", dc_n, states);
    const auto first_h = check.template out_sequence<T>("dh_0", dh_0, states);
    const auto first_c = check.template optional_out_sequence<T>("dc_0", dc_0, states);
    if (grads.size() != a.layers.size()) {
      throw py::value_error("grads: expected one for each layer, got " +
                            std::to_string(grads.size()));
    }
    for (std::size_t l = 0; l < a.layers.size(); ++l) {
      BackwardArgs<T>& layer = a.layers[l];
      const py::sequence own = call.fields("grads", l, grads[l], 4);
      const Index I = layer.sizes.input, H = layer.sizes.hidden;
      layer.dh_n = call.layer_of(last_h, l);
      layer.dc_n = call.layer_of(last_c, l);
      layer.dh_0 = call.layer_of(first_h, l);
      layer.dc_0 = call.layer_of(first_c, l);
      layer.dweight_ih =
          check.template out_matrix<T>(call.name(l, "dweight_ih"), own[0], {p.gates, I});
      if (layer.weight_hh) {
        layer.dweight_hh =
            check.template out_matrix<T>(call.name(l, "dweight_hh"), own[1], {p.gates, H});
      } else if (!py::object(own[1]).is_none()) {
        throw py::value_error(std::string(call.name(l, "dweight_hh")) + ": expected None, got one");
      }
      expect_both_biases(call.name(l, "dbias_hh"), own[2], own[3]);
      layer.dbias_ih =
          check.template optional_out_contiguous<T>(call.name(l, "dbias_ih"), own[2], {p.gates});
      layer.dbias_hh =
          check.template optional_out_contiguous<T>(call.name(l, "dbias_hh"), own[3], {p.gates});
    }
    if (tapes.is_none()) throw py::value_error("tapes: expected one for each layer, got None");
    call.read_tapes(a.layers, tapes,
                    [&](std::size_t l, BackwardArgs<T>& layer, const py::sequence& own,
                        const Shape& gates, const Shape& h, const Shape& c) {
                      layer.gates =
                          check.template out_contiguous<T>(call.name(l, "gates"), own[0], gates);
                      layer.h = check.template contiguous<T>(call.name(l, "h"), own[1], h);
                      layer.c = check.template optional_contiguous<T>(call.name(l, "c"), own[2], c);
                    });
    a.y = check.template contiguous<T>("tape_y", tape_y, call.kept_outputs());
    a.fed = check.template contiguous<T>("tape_fed", tape_fed, call.kept_fed());
    a.dy = check.template sequence<T>("dy", dy, call.outputs());
    a.dy_n = check.template optional_sequence<T>("dy_n", dy_n, call.memory());
    a.dy_0 = check.template out_sequence<T>("dy_0", dy_0, call.memory());
    a.layers.front().dx = check.template optional_out_sequence<T>(
        "dx", dx, {p.sizes.steps, p.sizes.batch, p.sizes.input});
    const OutputArgs<T>& o = call.output();
    const auto both = [&](const char* name, const py::object& weight, const py::object& gradient) {
      if (weight.is_none() == gradient.is_none()) return;
      throw py::value_error(std::string(name) + ": expected None exactly where the weight is None");
    };
    both("dweight_oh", weight_oh, dweight_oh);
    both("dweight_oo", weight_oo, dweight_oo);
    a.layers.front().dweight_oh =
        check.template optional_out_matrix<T>("dweight_oh", dweight_oh, {p.gates, call.fed()});
    a.dweight_ho =
        check.template out_matrix<T>("dweight_ho", dweight_ho, {o.outputs, p.sizes.hidden});
    a.dweight_oo =
        check.template optional_out_matrix<T>("dweight_oo", dweight_oo, {o.outputs, call.fed()});
    a.dbias = check.template optional_out_contiguous<T>("dbias_o", dbias_o, {o.outputs});
    const auto mask =
        check.template optional_contiguous<bool>("given", given, {p.sizes.steps, p.sizes.batch});
    check.no_overlap();
    a.output = o;
    a.output.activation = find_activation(activation);
    a.output.given = reinterpret_cast<const std::uint8_t*>(mask);
    const py::gil_scoped_release release;
    output_backward<T>(p.cell.name, a);
  });
}

// y = phi(y), row by row in place.
void bind_activate(const std::string& activation, const py::object& y) {
  by_dtype("y", y, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    const Matrix<T> rows = check.out_matrix<T>("y", y, {any_size, any_size});
    check.no_overlap();
    const Activation phi = find_activation(activation);
    const py::gil_scoped_release release;
    parallel(threads_for(checked_mul(rows.rows, rows.cols), rows.rows), [&](const Worker& worker) {
      const Range mine = worker.share(rows.rows);
      for (Index r = mine.begin; r < mine.end; ++r) activate(phi, rows.row(r), rows.cols);
    });
  });
}

// dy = (dphi/da)^T dy from the outputs y, in place.
void bind_activate_backward(const std::string& activation, const py::object& y,
                            const py::object& dy) {
  by_dtype("y", y, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    const Matrix<const T> rows = check.matrix<T>("y", y, {any_size, any_size});
    const Matrix<T> slopes = check.out_matrix<T>("dy", dy, {rows.rows, rows.cols});
    check.no_overlap();
    const Activation phi = find_activation(activation);
    const py::gil_scoped_release release;
    parallel(threads_for(checked_mul(rows.rows, rows.cols), rows.rows), [&](const Worker& worker) {
      const Range mine = worker.share(rows.rows);
      for (Index r = mine.begin; r < mine.end; ++r) {
        activate_backward(phi, rows.row(r), slopes.row(r), rows.cols);
      }
    });
  });
}

}  // namespace

void bind_output(py::module_& m) {
  using py::arg;
  m.def("output_forward", &bind_output_forward, arg("cell"), arg("x"), arg("layers"),
        arg("weight_oh"), arg("weight_ho"), arg("weight_oo"), arg("bias_o"), arg("activation"),
        arg("delays"), arg("targets"), arg("given"), arg("h_0"), arg("c_0"), arg("y_0"),
        arg("lengths"), arg("reverse"), arg("y"), arg("h_n"), arg("c_n"), arg("y_n"), arg("tapes"),
        arg("tape_y"), arg("tape_fed"));
  m.def("activate", &bind_activate, arg("activation"), arg("y"));
  m.def("activate_backward", &bind_activate_backward, arg("activation"), arg("y"), arg("dy"));
  m.def("output_backward", &bind_output_backward, arg("cell"), arg("x"), arg("layers"),
        arg("weight_oh"), arg("weight_ho"), arg("weight_oo"), arg("activation"), arg("delays"),
        arg("given"), arg("lengths"), arg("reverse"), arg("tapes"), arg("tape_y"), arg("tape_fed"),
        arg("dy"), arg("dh_n"), arg("dc_n"), arg("dy_n"), arg("dx"), arg("dh_0"), arg("dc_0"),
        arg("dy_0"), arg("grads"), arg("dweight_oh"), arg("dweight_ho"), arg("dweight_oo"),
        arg("dbias_o"));
}

}  // namespace rnncore
