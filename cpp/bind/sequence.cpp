// Bindings of the recurrent passes: cells, forward, backward, segments.
#include <algorithm>
#include <string>

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/problem.hpp"
#include "sequence/partition.hpp"
#include "sequence/sequence.hpp"
#include "sequence/weight_cache.hpp"

namespace rnncore {
namespace {

py::tuple cells() {
  py::list table;
  for (const CellInfo& cell : cell_table()) {
    py::dict row;
    row["name"] = py::str(cell.name.data(), cell.name.size());
    row["gates"] = py::str(cell.gates.data(), cell.gates.size());
    row["wiring"] = py::str(cell.wiring.data(), cell.wiring.size());
    row["has_c"] = cell.has_c;
    table.append(row);
  }
  return py::tuple(table);
}

constexpr Index most_steps = (Index{1} << 31) - 1;

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

// Panels of one variant are not those of another.
#define RNNCORE_TEXT(name) #name
#define RNNCORE_VARIANT(name) RNNCORE_TEXT(name)
constexpr const char* cache_name = "rnncore.weight_cache." RNNCORE_VARIANT(RNNCORE_MODULE);

// A place that keeps packed weights from one inference call of `forward` to the next.
py::capsule weight_cache() {
  return py::capsule(new WeightCache, cache_name,
                     [](void* p) { delete static_cast<WeightCache*>(p); });
}

WeightCache* cache_of(const py::object& cache) {
  auto* const result = static_cast<WeightCache*>(PyCapsule_GetPointer(cache.ptr(), cache_name));
  if (result == nullptr) {
    PyErr_Clear();
    throw py::type_error("cache: expected what weight_cache() returns, or None");
  }
  return result;
}

WeightCache* read_cache(const py::object& cache, bool training) {
  if (cache.is_none()) return nullptr;
  if (training) throw py::value_error("cache: expected None with a tape, got one");
  return cache_of(cache);
}

// How often the panels in it served; for tests.
Index weight_cache_hits(const py::object& cache) {
  return cache_of(cache)->hits();
}

// The cost rule's answer, (parts of the rows, parts of the units); for tests.
py::tuple bind_partition(Index steps, Index batch, Index panels, Index depth, Index packet_bytes,
                         double merged) {
  const Partition chosen({steps, batch, panels, depth, packet_bytes, merged});
  return py::make_tuple(chosen.row_parts(), chosen.unit_parts());
}

void bind_forward(const std::string& cell, const py::object& x, const py::object& h_0,
                  const py::object& c_0, const py::object& weight_ih, const py::object& weight_hh,
                  const py::object& bias_ih, const py::object& bias_hh, const py::object& lengths,
                  bool reverse, const py::object& y, const py::object& h_n, const py::object& c_n,
                  const py::object& gates, const py::object& h, const py::object& c,
                  Index recompute, const py::object& cache, const py::object& fed,
                  const py::object& weight_oh) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    Problem p = make_problem<T>(cell, check, x, weight_hh, "h_0", h_0, lengths);
    ForwardArgs<T> a;
    read_problem(a, p, reverse, recompute);
    read_fed(a, p, check, fed, weight_oh);
    expect_c(p.cell, "c_0", c_0);
    expect_c(p.cell, "c_n", c_n);
    read_layer(a, p, check, x, weight_ih, weight_hh, bias_ih, bias_hh);
    a.h_0 = check.matrix<T>("h_0", h_0, p.states());
    a.c_0 = check.optional_matrix<T>("c_0", c_0, p.states());
    a.y = check.out_sequence<T>("y", y, p.outputs());
    a.h_n = check.out_matrix<T>("h_n", h_n, p.states());
    a.c_n = check.optional_out_matrix<T>("c_n", c_n, p.states());
    if (recompute > 0 || !gates.is_none() || !h.is_none() || !c.is_none()) {
      expect_c(p.cell, "c", c);
      const Shape states = history(p, a);
      a.tape = {read_gates<T>(p, check, gates, recompute), check.out_contiguous<T>("h", h, states),
                check.optional_out_contiguous<T>("c", c, states)};
    }
    a.cache = read_cache(cache, recompute > 0 || a.tape.gates != nullptr);
    if (a.cache != nullptr && !a.weight_hh) {
      throw py::value_error("cache: expected None without weight_hh, got one");
    }
    check.no_overlap();
    const py::gil_scoped_release release;
    forward<T>(p.cell.name, a);
  });
}

void bind_backward(const std::string& cell, const py::object& x, const py::object& weight_ih,
                   const py::object& weight_hh, const py::object& lengths, bool reverse,
                   const py::object& gates, const py::object& h, const py::object& c,
                   const py::object& dy, const py::object& dh_n, const py::object& dc_n,
                   const py::object& dx, const py::object& dh_0, const py::object& dc_0,
                   const py::object& dweight_ih, const py::object& dweight_hh,
                   const py::object& dbias_ih, const py::object& dbias_hh,
                   const py::object& bias_ih, const py::object& bias_hh, Index recompute,
                   const py::object& fed, const py::object& weight_oh, const py::object& dfed,
                   const py::object& dweight_oh) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    Problem p = make_problem<T>(cell, check, x, weight_hh, "dh_0", dh_0, lengths);
    BackwardArgs<T> a;
    read_problem(a, p, reverse, recompute);
    read_fed(a, p, check, fed, weight_oh);
    const auto [steps, batch, input, hidden, fed_size] = p.sizes;
    expect_c(p.cell, "dc_0", dc_0);
    if (!dc_n.is_none()) expect_c(p.cell, "dc_n", dc_n);
    expect_both_biases("dbias_hh", dbias_ih, dbias_hh);
    read_layer(a, p, check, x, weight_ih, weight_hh, bias_ih, bias_hh);
    expect_c(p.cell, "c", c);
    const Shape states = history(p, a);
    a.gates = read_gates<T>(p, check, gates, recompute);
    a.h = check.contiguous<T>("h", h, states);
    a.c = check.optional_contiguous<T>("c", c, states);
    a.dy = check.optional_sequence<T>("dy", dy, p.outputs());
    a.dh_n = check.optional_matrix<T>("dh_n", dh_n, p.states());
    a.dc_n = check.optional_matrix<T>("dc_n", dc_n, p.states());
    a.dx = check.optional_out_sequence<T>("dx", dx, {steps, batch, input});
    a.dh_0 = check.out_matrix<T>("dh_0", dh_0, p.states());
    a.dc_0 = check.optional_out_matrix<T>("dc_0", dc_0, p.states());
    a.dweight_ih = check.out_matrix<T>("dweight_ih", dweight_ih, {p.gates, input});
    if (weight_hh.is_none() != dweight_hh.is_none()) {
      throw py::value_error("dweight_hh: expected both weight_hh and dweight_hh or neither");
    }
    a.dweight_hh = check.optional_out_matrix<T>("dweight_hh", dweight_hh, {p.gates, hidden});
    if (weight_oh.is_none() != dweight_oh.is_none()) {
      throw py::value_error("dweight_oh: expected both weight_oh and dweight_oh or neither");
    }
    a.dweight_oh = check.optional_out_matrix<T>("dweight_oh", dweight_oh, {p.gates, fed_size});
    if (fed.is_none() && !dfed.is_none()) throw py::value_error("dfed: expected None without fed");
    if (!dfed.is_none()) {
      const Index wanted = reverse ? steps : std::min(steps, dimension("dfed", dfed, 3, 0));
      a.dfed = check.out_sequence<T>("dfed", dfed, {wanted, batch, fed_size});
    }
    a.dbias_ih = check.optional_out_contiguous<T>("dbias_ih", dbias_ih, {p.gates});
    a.dbias_hh = check.optional_out_contiguous<T>("dbias_hh", dbias_hh, {p.gates});
    check.no_overlap();
    const py::gil_scoped_release release;
    backward<T>(p.cell.name, a);
  });
}

Index bind_segments(const std::string& cell, const py::object& x, const py::object& weight_hh,
                    const py::object& lengths, Index recompute) {
  return by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    const Problem p = make_problem(cell, check, x, "weight_hh", weight_hh, lengths);
    LayerArgs<T> a;
    read_problem(a, p, false, recompute);
    const py::gil_scoped_release release;
    return segments(p.cell.name, a);
  });
}

}  // namespace

void bind_sequence(py::module_& m) {
  using py::arg;
  m.def("cells", &cells);
  m.def("forward", &bind_forward, arg("cell"), arg("x"), arg("h_0"), arg("c_0"), arg("weight_ih"),
        arg("weight_hh"), arg("bias_ih"), arg("bias_hh"), arg("lengths"), arg("reverse"), arg("y"),
        arg("h_n"), arg("c_n"), arg("gates"), arg("h"), arg("c"), arg("recompute") = Index{0},
        arg("cache") = py::none(), arg("fed") = py::none(), arg("weight_oh") = py::none());
  m.def("weight_cache", &weight_cache);
  m.def("weight_cache_hits", &weight_cache_hits, arg("cache"));
  m.def("partition", &bind_partition, arg("steps"), arg("batch"), arg("panels"), arg("depth"),
        arg("packet_bytes"), arg("merged"));
  m.def("backward", &bind_backward, arg("cell"), arg("x"), arg("weight_ih"), arg("weight_hh"),
        arg("lengths"), arg("reverse"), arg("gates"), arg("h"), arg("c"), arg("dy"), arg("dh_n"),
        arg("dc_n"), arg("dx"), arg("dh_0"), arg("dc_0"), arg("dweight_ih"), arg("dweight_hh"),
        arg("dbias_ih"), arg("dbias_hh"), arg("bias_ih") = py::none(), arg("bias_hh") = py::none(),
        arg("recompute") = Index{0}, arg("fed") = py::none(), arg("weight_oh") = py::none(),
        arg("dfed") = py::none(), arg("dweight_oh") = py::none());
  m.def("segments", &bind_segments, arg("cell"), arg("x"), arg("weight_hh"), arg("lengths"),
        arg("recompute"));
}

}  // namespace rnncore
