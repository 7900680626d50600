// Bindings of what the engine says of itself: the cell table, and the cost rule for tests.
#include "bind/bind.hpp"
#include "cells/table.hpp"
#include "recurrence/plan/partition.hpp"

namespace rnncore {
namespace {

namespace py = pybind11;

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
    table.append(row);
  }
  return py::tuple(table);
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
  m.def("partition", &bind_partition, arg("steps"), arg("batch"), arg("panels"), arg("depth"),
        arg("packet_bytes"), arg("merged"));
}

}  // namespace rnncore
