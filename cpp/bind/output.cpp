// Bindings of the closed loop: output_forward, output_backward.
#include <string>

#include "bind/bind.hpp"
#include "bind/output_call.hpp"
#include "core/parallel.hpp"
#include "sequence/readout.hpp"

namespace rnncore {
namespace {

void bind_output_forward(const std::string& cell, const py::object& x, const py::object& layers,
                         const py::object& weight_oh, const py::object& weight_ho,
                         const py::object& weight_oo, const py::object& bias_o,
                         const std::string& activation, const py::object& delays,
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
          [&](std::size_t l, ForwardArgs<T>& layer, const py::tuple& own, const Shape& gates,
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

// The gradients of each layer's weights.
template <class T>
void read_gradients(OutputCall<T>& call, std::vector<BackwardArgs<T>>& layers,
                    const py::object& grads) {
  const py::sequence all = call.list_of("grads", grads);
  if (all.size() != layers.size()) {
    throw py::value_error("grads: expected one for each layer, got " + std::to_string(all.size()));
  }
  const Index rows = call.problem().gates;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    BackwardArgs<T>& layer = layers[l];
    const py::tuple own = call.fields("grads", l, all[l], 4);
    const auto matrix = [&](const char* name, const py::object& array, Index cols) {
      return call.check.template out_matrix<T>(call.name(l, name), array, {rows, cols});
    };
    const auto bias = [&](const char* name, const py::object& array) {
      return call.check.template optional_out_contiguous<T>(call.name(l, name), array, {rows});
    };
    layer.dweight_ih = matrix("dweight_ih", own[0], layer.sizes.input);
    if (layer.weight_hh) {
      layer.dweight_hh = matrix("dweight_hh", own[1], layer.sizes.hidden);
    } else if (!py::object(own[1]).is_none()) {
      throw py::value_error(std::string(call.name(l, "dweight_hh")) + ": expected None, got one");
    }
    expect_both_biases(call.name(l, "dbias_hh"), own[2], own[3]);
    layer.dbias_ih = bias("dbias_ih", own[2]);
    layer.dbias_hh = bias("dbias_hh", own[3]);
  }
}

void bind_output_backward(const std::string& cell, const py::object& x, const py::object& layers,
                          const py::object& weight_oh, const py::object& weight_ho,
                          const py::object& weight_oo, const std::string& activation,
                          const py::object& delays, const py::object& given,
                          const py::object& lengths, bool reverse, const py::object& tapes,
                          const py::object& tape_y, const py::object& tape_fed,
                          const py::object& dy, const py::object& dh_n, const py::object& dc_n,
                          const py::object& dy_n, const py::object& dx, const py::object& dh_0,
                          const py::object& dc_0, const py::object& dy_0, const py::object& grads,
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
    read_gradients<T>(call, a.layers, grads);
    for (std::size_t l = 0; l < a.layers.size(); ++l) {
      a.layers[l].dh_n = call.layer_of(last_h, l);
      a.layers[l].dc_n = call.layer_of(last_c, l);
      a.layers[l].dh_0 = call.layer_of(first_h, l);
      a.layers[l].dc_0 = call.layer_of(first_c, l);
    }
    if (tapes.is_none()) throw py::value_error("tapes: expected one for each layer, got None");
    call.read_tapes(a.layers, tapes,
                    [&](std::size_t l, BackwardArgs<T>& layer, const py::tuple& own,
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
