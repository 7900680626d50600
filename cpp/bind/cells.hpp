// The cell table as the bindings know it.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <string_view>
#include <vector>

#include "cells/table.hpp"

namespace rnncore {

namespace py = pybind11;

// A row of the cell table.
struct CellInfo {
  std::string_view name, gates, wiring;
  bool has_c;
};

inline std::vector<CellInfo> cell_table() {
  std::vector<CellInfo> table;
  for_each_cell([&](auto policy) {
    using Cell = decltype(policy);
    table.push_back({Cell::name, Cell::gates, Cell::wiring, Cell::has_c});
  });
  return table;
}

// ValueError lists the names.
inline CellInfo find_cell(const std::string& name) {
  std::string known;
  for (const CellInfo& cell : cell_table()) {
    if (cell.name == name) return cell;
    known += (known.empty() ? "" : ", ") + std::string(cell.name);
  }
  throw py::value_error("cell: expected one of " + known + ", got '" + name + "'");
}

}  // namespace rnncore
