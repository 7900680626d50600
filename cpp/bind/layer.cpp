// Bindings of one layer in one direction: forward, backward, segments, the weight cache.
#include <algorithm>
#include <string>

#include "bind/bind.hpp"
#include "bind/noise.hpp"
#include "bind/problem.hpp"
#include "bind/variant.hpp"
#include "recurrence/layer/weight_cache.hpp"

namespace rnncore {
namespace {

constexpr Index most_steps = (Index{1} << 31) - 1;

// A place that keeps packed weights from one inference call of `forward` to the next. Panels of one
// variant are not those of another.
py::capsule weight_cache() {
  return py::capsule(new WeightCache, weight_cache_name,
                     [](void* p) { delete static_cast<WeightCache*>(p); });
}

WeightCache* cache_of(const py::object& cache) {
  auto* const result =
      static_cast<WeightCache*>(PyCapsule_GetPointer(cache.ptr(), weight_cache_name));
  if (result == nullptr) {
    PyErr_Clear();
    throw py::type_error("cache: expected what weight_cache() returns, or None");
  }
  return result;
}

// How often the panels in it served; for tests.
Index weight_cache_hits(const py::object& cache) {
  return cache_of(cache)->hits();
}

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
  a.cell = p.cell;
  a.choice = p.choice;
  a.sizes = p.sizes;
  a.pieces = p.pieces;
  a.reverse = reverse;
  a.recompute = recompute;
}

// (fed, weight_oh): values that feed back and are all known before, and the weights U that they
// meet; or None.
template <class T>
void read_feedback(LayerArgs<T>& a, ArrayCheck& check, const py::object& object) {
  if (object.is_none()) return;
  const py::tuple feedback = group("feedback", object, 2);
  const py::object fed = feedback[0], weight_oh = feedback[1];
  expect_both("weight_oh", fed, weight_oh, "expected both fed and weight_oh or neither");
  if (fed.is_none()) return;
  Sizes& s = a.sizes;
  s.fed = dimension("fed", fed, 3, 2);
  if (s.fed < 1) throw py::value_error("fed: expected at least 1 feature, got 0");
  a.fed = check.sequence<T>("fed", fed, {s.steps, s.batch, s.fed});
  a.weights.weight_oh =
      check.matrix<T>("weight_oh", weight_oh, {checked_mul(a.cell->gates, s.hidden), s.fed});
}

// How a layer runs over x, in both passes.
struct LayerOptions {
  Ends ends;
  const py::object &feedback, &noise;
  Index recompute;
};

// What both passes read; `h`, of the name `state`, says H where there is no R.
template <class T>
Problem read_layer(LayerArgs<T>& a, ArrayCheck& check, const GivenCell& cell, const py::object& x,
                   const WeightGroup& weights, const ArrayName& state, const py::object& h,
                   const LayerOptions& options) {
  const py::object weight_hh = weights.weight_hh();
  Problem p = weight_hh.is_none()
                  ? make_problem(cell, check, x, state, h, options.ends)
                  : make_problem(cell, check, x, "weight_hh", weight_hh, options.ends);
  read_problem(a, p, options.ends.reverse, options.recompute);
  a.x = check.sequence<T>("x", x, {p.sizes.steps, p.sizes.batch, p.sizes.input});
  a.weights = weights.read<T>(check, p.sizes.input, p.sizes.hidden);
  read_feedback(a, check, options.feedback);
  read_noise(a, check, options.noise);
  return p;
}

void bind_forward(const py::object& cell, const py::object& x, const py::object& weights,
                  const py::object& state_0, const py::object& y, const py::object& state_n,
                  const py::object& lengths, bool reverse, const py::object& tape, Index recompute,
                  const py::object& feedback, const py::object& cache, bool batch_invariant,
                  const py::object& resets, const std::string& reset_to, const py::object& noise) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    ForwardArgs<T> a;
    const py::tuple first = group("state_0", state_0, max_states);
    const py::tuple last = group("state_n", state_n, max_states);
    const GivenCell given(cell);
    const WeightGroup own("weights", given.info(), weights);
    const Problem p =
        read_layer(a, check, given, x, own, "h_0", first[0],
                   {{lengths, resets, reset_to, reverse}, feedback, noise, recompute});
    a.batch_invariant = batch_invariant;
    for_states(*p.cell, first, 0, {"", "_0"}, false,
               [&](std::size_t k, const ArrayName& name, const py::object& array) {
                 a.state_0[k] = check.matrix<T>(name, array, p.states());
               });
    a.y = check.out_sequence<T>("y", y, p.outputs());
    for_states(*p.cell, last, 0, {"", "_n"}, false,
               [&](std::size_t k, const ArrayName& name, const py::object& array) {
                 a.state_n[k] = check.out_matrix<T>(name, array, p.states());
               });
    if (recompute > 0 || !tape.is_none()) {
      read_tape(a.tape, check, p, a, group("tape", tape, 1 + max_states));
    }
    if (!cache.is_none()) {
      if (!tape.is_none()) throw py::value_error("cache: expected None with a tape, got one");
      a.cache = cache_of(cache);
      if (!a.weights.weight_hh) {
        throw py::value_error("cache: expected None without weight_hh, got one");
      }
    }
    check.no_overlap();
    const Released release;
    forward<T>(a);
  });
}

// (dfed, dweight_oh), or None.
template <class T>
void read_feedback_gradient(BackwardArgs<T>& a, ArrayCheck& check, const py::object& object) {
  const py::tuple gradient =
      object.is_none() ? py::make_tuple(py::none(), py::none()) : group("dfeedback", object, 2);
  const py::object dfed = gradient[0], dweight_oh = gradient[1];
  const Sizes& s = a.sizes;
  if (static_cast<bool>(a.weights.weight_oh) == dweight_oh.is_none()) {
    throw py::value_error("dweight_oh: expected both weight_oh and dweight_oh or neither");
  }
  a.gradients.weight_oh = check.optional_out_matrix<T>(
      "dweight_oh", dweight_oh, {checked_mul(a.cell->gates, s.hidden), s.fed});
  if (dfed.is_none()) return;
  if (!a.fed) throw py::value_error("dfed: expected None without fed");
  const bool all = a.reverse || a.pieces.size() > static_cast<std::size_t>(s.batch);
  const Index wanted = all ? s.steps : std::min(s.steps, dimension("dfed", dfed, 3, 0));
  a.dfed = check.out_sequence<T>("dfed", dfed, {wanted, s.batch, s.fed});
}

void bind_backward(const py::object& cell, const py::object& x, const py::object& weights,
                   const py::object& tape, const py::object& dy, const py::object& dstate_n,
                   const py::object& dx, const py::object& dstate_0, const py::object& gradients,
                   const py::object& lengths, bool reverse, Index recompute,
                   const py::object& feedback, const py::object& dfeedback,
                   const py::object& resets, const std::string& reset_to, const py::object& noise) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    BackwardArgs<T> a;
    const py::tuple first = group("dstate_0", dstate_0, max_states);
    const py::tuple last = group("dstate_n", dstate_n, max_states);
    const GivenCell given(cell);
    const WeightGroup own("weights", given.info(), weights);
    const Problem p =
        read_layer(a, check, given, x, own, "dh_0", first[0],
                   {{lengths, resets, reset_to, reverse}, feedback, noise, recompute});
    expect_drawn(a);
    const WeightGroup to("gradients", *p.cell, gradients, {"d", ""});
    a.gradients = to.write<T>(check, p.sizes.input, p.sizes.hidden, own.weight_hh());
    read_tape(a.tape, check, p, a, group("tape", tape, 1 + max_states));
    a.dy = check.optional_sequence<T>("dy", dy, p.outputs());
    for_states(*p.cell, last, 0, {"d", "_n"}, true,
               [&](std::size_t k, const ArrayName& name, const py::object& array) {
                 a.dstate_n[k] = check.optional_matrix<T>(name, array, p.states());
               });
    a.dx = check.optional_out_sequence<T>("dx", dx, {p.sizes.steps, p.sizes.batch, p.sizes.input});
    for_states(*p.cell, first, 0, {"d", "_0"}, false,
               [&](std::size_t k, const ArrayName& name, const py::object& array) {
                 a.dstate_0[k] = check.out_matrix<T>(name, array, p.states());
               });
    read_feedback_gradient(a, check, dfeedback);
    check.no_overlap();
    const Released release;
    backward<T>(a);
  });
}

py::list bind_segments(const py::object& cell, const py::object& x, const py::object& weight_hh,
                       const py::object& lengths, Index recompute, const py::object& resets) {
  return by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    const Problem p = make_problem(GivenCell(cell), check, x, "weight_hh", weight_hh,
                                   {lengths, resets, "zeros", false});
    LayerArgs<T> a;
    read_problem(a, p, false, recompute);
    const std::vector<Index> rows = [&] {
      const Released release;
      return segments(a);
    }();
    py::list result;
    for (const Index count : rows) result.append(count);
    return result;
  });
}

}  // namespace

void bind_layer(py::module_& m) {
  using py::arg;
  const auto none = py::none();
  m.def("forward", &bind_forward, arg("cell"), arg("x"), arg("weights"), arg("state_0"), arg("y"),
        arg("state_n"), arg("lengths") = none, arg("reverse") = false, arg("tape") = none,
        arg("recompute") = Index{0}, arg("feedback") = none, arg("cache") = none,
        arg("batch_invariant") = false, arg("resets") = none, arg("reset_to") = "zeros",
        arg("noise") = none);
  m.def("backward", &bind_backward, arg("cell"), arg("x"), arg("weights"), arg("tape"), arg("dy"),
        arg("dstate_n"), arg("dx"), arg("dstate_0"), arg("gradients"), arg("lengths") = none,
        arg("reverse") = false, arg("recompute") = Index{0}, arg("feedback") = none,
        arg("dfeedback") = none, arg("resets") = none, arg("reset_to") = "zeros",
        arg("noise") = none);
  m.def("segments", &bind_segments, arg("cell"), arg("x"), arg("weight_hh"), arg("lengths"),
        arg("recompute"), arg("resets") = none);
  m.def("weight_cache", &weight_cache);
  m.def("weight_cache_hits", &weight_cache_hits, arg("cache"));
}

}  // namespace rnncore
