// Bindings of what the engine says of itself: the cell table, the functions of gates, and the cost
// rule for tests.
#include "bind/bind.hpp"
#include "bind/given_cell.hpp"
#include "cells/apply_function.hpp"
#include "recurrence/plan/partition.hpp"

namespace rnncore {
namespace {

py::str text(std::string_view view) {
  return py::str(view.data(), view.size());
}

py::tuple cells() {
  py::list table;
  for (const CellInfo& cell : cell_table()) {
    py::dict unit_parameters;
    for (const UnitParameter& own : cell.unit_parameters) {
      unit_parameters[text(own.name)] = text(own.rows);
    }
    py::dict row;
    row["name"] = text(cell.name);
    row["gates"] = text(cell.gate_letters);
    row["wiring"] = text(cell.slot_letters);
    row["states"] = text(cell.states);
    row["unit_parameters"] = unit_parameters;
    py::list functions;
    for (const Function kind : cell.functions) functions.append(text(name_of(kind)));
    row["functions"] = py::tuple(functions);
    table.append(row);
  }
  return py::tuple(table);
}

// y = function(z) and its derivative, as a gate has them: function (name, alpha, beta).
void bind_gate_function(const py::object& function, double clip, const py::object& z,
                        const py::object& y, const py::object& derivative) {
  by_dtype("z", z, [&](auto zero) {
    using T = decltype(zero);
    const GateFunction f = read_function("function", function);
    const double bound = read_clip(clip);
    const Index count = dimension("z", z, 1, 0);
    ArrayCheck check;
    const T* const from = check.contiguous<T>("z", z, {count});
    T* const to = check.out_contiguous<T>("y", y, {count});
    T* const dy_dz = check.out_contiguous<T>("derivative", derivative, {count});
    check.no_overlap();
    const FlushDenormals flush;
    apply_function(f, bound, from, count, to, dy_dz);
  });
}

// The cost rule's answer, (parts of the rows, parts of the units); for tests.
py::tuple bind_partition(Index steps, Index batch, Index panels, Index depth, Index packet_bytes,
                         double merged) {
  const Partition chosen({.steps = steps,
                          .batch = batch,
                          .panels = panels,
                          .depth = depth,
                          .packet_bytes = packet_bytes,
                          .merged = merged});
  return py::make_tuple(chosen.row_parts(), chosen.unit_parts());
}

}  // namespace

void bind_cells(py::module_& m) {
  using py::arg;
  m.def("cells", &cells);
  m.def("gate_function", &bind_gate_function, arg("function"), arg("clip"), arg("z"), arg("y"),
        arg("derivative"));
  m.def("partition", &bind_partition, arg("steps"), arg("batch"), arg("panels"), arg("depth"),
        arg("packet_bytes"), arg("merged"));
}

}  // namespace rnncore
