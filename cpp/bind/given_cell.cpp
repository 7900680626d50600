// The checks behind given_cell.hpp.
#include "bind/given_cell.hpp"

#include <cmath>

#include "bind/groups.hpp"

namespace rnncore {
namespace {

constexpr const char* expected_cell = "cell: expected a name, or a tuple of name, functions, clip";

double read_number(const std::string& name, const py::handle& object) {
  if (!py::isinstance<py::float_>(object)) throw py::type_error(name + ": expected a float");
  return object.cast<double>();
}

std::string read_text(const py::handle& object, const std::string& expected) {
  if (!py::isinstance<py::str>(object)) throw py::type_error(expected);
  return object.cast<std::string>();
}

double read_finite(const std::string& name, const py::handle& object) {
  const double value = read_number(name, object);
  if (!std::isfinite(value)) throw py::value_error(name + ": expected a finite number");
  return value;
}

}  // namespace

GateFunction read_function(const std::string& what, const py::object& object) {
  const py::tuple parts = group(what, object, 3);
  const std::string name = read_text(parts[0], what + ": expected the name of a function");
  std::string known;
  for (std::size_t k = 0; k < function_names.size(); ++k) {
    if (name == function_names[k]) {
      return {static_cast<Function>(k), read_finite(what + " alpha", parts[1]),
              read_finite(what + " beta", parts[2])};
    }
    known += (known.empty() ? "" : ", ") + std::string(function_names[k]);
  }
  throw py::value_error(what + ": expected one of " + known + ", got '" + name + "'");
}

double read_clip(double clip) {
  if (!(clip > 0)) {
    throw py::value_error("clip: expected a number above 0, got " + std::to_string(clip));
  }
  return clip;
}

GivenCell::GivenCell(const py::object& object) {
  if (py::isinstance<py::str>(object)) {
    info_ = &cell_named(object.cast<std::string>());
    return;
  }
  if (!py::isinstance<py::tuple>(object) || py::len(object) != 3)
    throw py::type_error(expected_cell);
  const auto parts = py::reinterpret_borrow<py::tuple>(object);
  info_ = &cell_named(read_text(parts[0], expected_cell));
  const py::tuple functions = group("functions", parts[1], info_->functions.size());
  CellChoice& to = choice.emplace();
  for (std::size_t k = 0; k < functions.size(); ++k) {
    to.functions[k] = read_function("functions[" + std::to_string(k) + "]", functions[k]);
  }
  to.clip = read_clip(read_number("clip", parts[2]));
}

}  // namespace rnncore
