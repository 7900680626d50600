// A cell as a call names it: a row of the cell table, and what was chosen for it.
#pragma once

#include <optional>

#include "bind/arrays.hpp"
#include "cells/table.hpp"

namespace rnncore {

// (name, alpha, beta); errors name `what`.
GateFunction read_function(const std::string& what, const py::object& object);

// A bound above 0, infinity for none.
double read_clip(double clip);

struct GivenCell {
  // A name, or (name, functions, clip) with as many functions as the cell has.
  explicit GivenCell(const py::object& object);

  const CellInfo& info() const { return *info_; }
  std::optional<CellChoice> choice;

 private:
  const CellInfo* info_;
};

}  // namespace rnncore
