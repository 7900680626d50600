// Bindings of the closed loop and of its activations.
#include <string>

#include "bind/bind.hpp"
#include "bind/closed_loop_call.hpp"
#include "core/parallel.hpp"

namespace rnncore {

Activation find_activation(const std::string& name) {
  const char* const names[] = {"identity", "tanh", "sigmoid", "softmax"};
  for (int i = 0; i < 4; ++i) {
    if (name == names[i]) return static_cast<Activation>(i);
  }
  throw py::value_error("activation: expected identity, tanh, sigmoid or softmax, got '" + name +
                        "'");
}

std::vector<Index> read_delays(const py::object& object) {
  constexpr Index longest = Index{1} << 20;
  std::vector<Index> delays;
  for (const auto& value : list_of("delays", object)) {
    const Index delay = py::isinstance<py::int_>(value) ? PyLong_AsLongLong(value.ptr()) : -1;
    if (PyErr_Occurred()) PyErr_Clear();  // of a number that no Index holds
    if (delay < 1 || delay > longest) {
      throw py::value_error("delays: expected integers in [1, " + std::to_string(longest) +
                            "], got " + std::string(py::repr(value)));
    }
    delays.push_back(delay);
  }
  if (delays.empty()) throw py::value_error("delays: expected at least one, got none");
  return delays;
}

namespace {

// States are (h, c, y): those of the layers (K, B, H), and the values fed back (D, B, O).
inline constexpr std::size_t loop_states = max_states + 1;

template <class T>
void read_states(ClosedLoopCall<T>& call, ClosedLoopForwardArgs<T>& a, const py::tuple& first,
                 const py::tuple& last) {
  ArrayCheck& check = call.check;
  const CellInfo& cell = *call.problem().cell;
  const Shape states = call.states_of(a.layers.size());
  for_states(cell, first, 0, {"", "_0"}, false,
             [&](std::size_t k, const ArrayName& name, const py::object& array) {
               const auto all = check.template sequence<T>(name, array, states);
               for (std::size_t l = 0; l < a.layers.size(); ++l) {
                 a.layers[l].state_0[k] = call.layer_of(all, l);
               }
             });
  for_states(cell, last, 0, {"", "_n"}, false,
             [&](std::size_t k, const ArrayName& name, const py::object& array) {
               const auto all = check.template out_sequence<T>(name, array, states);
               for (std::size_t l = 0; l < a.layers.size(); ++l) {
                 a.layers[l].state_n[k] = call.layer_of(all, l);
               }
             });
  a.y_0 = check.template sequence<T>("y_0", first[max_states], call.values());
  a.y_n = check.template out_sequence<T>("y_n", last[max_states], call.values());
}

void bind_loop_forward(const py::object& cell, const py::object& x, const py::object& layers,
                       const py::object& readout, const std::string& activation,
                       const py::object& delays, const py::object& state_0, const py::object& y,
                       const py::object& state_n, const py::object& targets,
                       const py::object& teacher_forcing, const py::object& lengths, bool reverse,
                       const py::object& tape, bool batch_invariant, const py::object& resets,
                       const std::string& reset_to) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const py::tuple first = group("state_0", state_0, loop_states);
    const py::tuple last = group("state_n", state_n, loop_states);
    const ClosedLoopOptions options{
        activation, cell, x, layers, readout, delays, {lengths, resets, reset_to, reverse}};
    ClosedLoopCall<T> call(options);
    ArrayCheck& check = call.check;
    call.read_targets(targets, teacher_forcing);
    ClosedLoopForwardArgs<T> a;
    call.read_layers(a.layers);
    for (ForwardArgs<T>& layer : a.layers) layer.batch_invariant = batch_invariant;
    read_states(call, a, first, last);
    a.y = check.template out_sequence<T>("y", y, call.outputs());
    if (!tape.is_none()) {
      const py::tuple kept = group("tape", tape, 3);
      call.read_tapes(a.layers, kept[0]);
      a.tape.y = check.template out_contiguous<T>("tape_y", kept[1], call.kept_outputs());
      a.tape.fed = check.template out_contiguous<T>("tape_fed", kept[2], call.kept_values());
    }
    check.no_overlap();
    a.feedback = call.feedback();
    const Released release;
    closed_loop_forward<T>(a);
  });
}

template <class T>
void read_state_gradients(ClosedLoopCall<T>& call, ClosedLoopBackwardArgs<T>& a,
                          const py::tuple& first, const py::tuple& last) {
  ArrayCheck& check = call.check;
  const CellInfo& cell = *call.problem().cell;
  const Shape states = call.states_of(a.layers.size());
  for_states(cell, last, 0, {"d", "_n"}, true,
             [&](std::size_t k, const ArrayName& name, const py::object& array) {
               const auto all = check.template optional_sequence<T>(name, array, states);
               for (std::size_t l = 0; l < a.layers.size(); ++l) {
                 a.layers[l].dstate_n[k] = call.layer_of(all, l);
               }
             });
  for_states(cell, first, 0, {"d", "_0"}, false,
             [&](std::size_t k, const ArrayName& name, const py::object& array) {
               const auto all = check.template out_sequence<T>(name, array, states);
               for (std::size_t l = 0; l < a.layers.size(); ++l) {
                 a.layers[l].dstate_0[k] = call.layer_of(all, l);
               }
             });
  a.dy_n = check.template optional_sequence<T>("dy_n", last[max_states], call.values());
  a.dy_0 = check.template out_sequence<T>("dy_0", first[max_states], call.values());
}

void bind_loop_backward(const py::object& cell, const py::object& x, const py::object& layers,
                        const py::object& readout, const std::string& activation,
                        const py::object& delays, const py::object& tape, const py::object& dy,
                        const py::object& dstate_n, const py::object& dx,
                        const py::object& dstate_0, const py::object& dlayers,
                        const py::object& dreadout, const py::object& teacher_forcing,
                        const py::object& lengths, bool reverse, const py::object& resets,
                        const std::string& reset_to) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const py::tuple first = group("dstate_0", dstate_0, loop_states);
    const py::tuple last = group("dstate_n", dstate_n, loop_states);
    const py::tuple kept = group("tape", tape, 3);
    const ClosedLoopOptions options{
        activation, cell, x, layers, readout, delays, {lengths, resets, reset_to, reverse}};
    ClosedLoopCall<T> call(options);
    ArrayCheck& check = call.check;
    const Problem& p = call.problem();
    call.read_mask(teacher_forcing);
    ClosedLoopBackwardArgs<T> a;
    call.read_layers(a.layers);
    call.read_tapes(a.layers, kept[0]);
    a.tape.y = check.template contiguous<T>("tape_y", kept[1], call.kept_outputs());
    a.tape.fed = check.template contiguous<T>("tape_fed", kept[2], call.kept_values());
    a.dy = check.template sequence<T>("dy", dy, call.outputs());
    read_state_gradients(call, a, first, last);
    a.layers.front().dx = check.template optional_out_sequence<T>(
        "dx", dx, {p.sizes.steps, p.sizes.batch, p.sizes.input});
    call.read_gradients(a, dlayers, dreadout);
    check.no_overlap();
    a.feedback = call.feedback();
    const Released release;
    closed_loop_backward<T>(a);
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
    const Released release;
    parallel_parts(threads_for(checked_mul(rows.rows, rows.cols), rows.rows),
                   [&](const Worker& worker) {
                     const Range mine = worker.share(rows.rows);
                     for (Index r = mine.begin; r < mine.end; ++r)
                       activate(phi, rows.row(r), rows.cols);
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
    const Matrix<T> gradients = check.out_matrix<T>("dy", dy, {rows.rows, rows.cols});
    check.no_overlap();
    const Activation phi = find_activation(activation);
    const Released release;
    parallel_parts(threads_for(checked_mul(rows.rows, rows.cols), rows.rows),
                   [&](const Worker& worker) {
                     const Range mine = worker.share(rows.rows);
                     for (Index r = mine.begin; r < mine.end; ++r) {
                       activate_backward(phi, rows.row(r), gradients.row(r), rows.cols);
                     }
                   });
  });
}

}  // namespace

void bind_closed_loop(py::module_& m) {
  using py::arg;
  const auto none = py::none();
  m.def("closed_loop_forward", &bind_loop_forward, arg("cell"), arg("x"), arg("layers"),
        arg("readout"), arg("activation"), arg("delays"), arg("state_0"), arg("y"), arg("state_n"),
        arg("targets") = none, arg("teacher_forcing") = none, arg("lengths") = none,
        arg("reverse") = false, arg("tape") = none, arg("batch_invariant") = false,
        arg("resets") = none, arg("reset_to") = "zeros");
  m.def("closed_loop_backward", &bind_loop_backward, arg("cell"), arg("x"), arg("layers"),
        arg("readout"), arg("activation"), arg("delays"), arg("tape"), arg("dy"), arg("dstate_n"),
        arg("dx"), arg("dstate_0"), arg("dlayers"), arg("dreadout"), arg("teacher_forcing") = none,
        arg("lengths") = none, arg("reverse") = false, arg("resets") = none,
        arg("reset_to") = "zeros");
  m.def("activate", &bind_activate, arg("activation"), arg("y"));
  m.def("activate_backward", &bind_activate_backward, arg("activation"), arg("y"), arg("dy"));
}

}  // namespace rnncore
