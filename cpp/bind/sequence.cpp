// Bindings of the recurrent passes: cells, forward, backward, segments.
#include <algorithm>
#include <string>

#include "bind/bind.hpp"
#include "bind/layer.hpp"
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
                  const py::object& weight_oh, bool batch_invariant) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    ArrayCheck check;
    Problem p = make_problem<T>(cell, check, x, weight_hh, "h_0", h_0, lengths);
    ForwardArgs<T> a;
    read_problem(a, p, reverse, recompute);
    a.batch_invariant = batch_invariant;
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
        arg("cache") = py::none(), arg("fed") = py::none(), arg("weight_oh") = py::none(),
        arg("batch_invariant") = false);
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
