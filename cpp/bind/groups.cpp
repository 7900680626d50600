// The checks behind groups.hpp.
#include "bind/groups.hpp"

namespace rnncore {

const CellInfo& cell_named(const std::string& name) {
  if (const CellInfo* const cell = find_cell(name)) return *cell;
  std::string known;
  for (const CellInfo& cell : cell_table()) {
    known += (known.empty() ? "" : ", ") + std::string(cell.name);
  }
  throw py::value_error("cell: expected one of " + known + ", got '" + name + "'");
}

py::tuple group(const std::string& name, const py::object& object, std::size_t count) {
  if (!py::isinstance<py::tuple>(object)) {
    throw py::type_error(name + ": expected a tuple of " + std::to_string(count));
  }
  const auto result = py::reinterpret_borrow<py::tuple>(object);
  if (result.size() != count) {
    throw py::value_error(name + ": expected " + std::to_string(count) + " entries, got " +
                          std::to_string(result.size()));
  }
  return result;
}

py::tuple list_of(const std::string& name, const py::object& object) {
  if (py::isinstance<py::tuple>(object)) return py::reinterpret_borrow<py::tuple>(object);
  if (!py::isinstance<py::list>(object)) {
    throw py::type_error(name + ": expected a list, got " +
                         std::string(py::str(py::type::of(object).attr("__name__"))));
  }
  PyObject* const entries = PyList_AsTuple(object.ptr());
  if (entries == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::tuple>(entries);
}

void expect_state(const CellInfo& cell, std::size_t k, const ArrayName& name,
                  const py::object& object) {
  const bool carried = k < cell.states.size();
  if (carried == !object.is_none() || k == 0) return;  // every cell carries h
  throw py::value_error(name.text() +
                        (carried ? ": expected an array, got None, for cell '"
                                 : ": expected None, got an array, for cell '") +
                        std::string(cell.name) + "'");
}

void expect_both(const ArrayName& name, const py::object& first, const py::object& second,
                 const char* text) {
  if (first.is_none() != second.is_none()) throw py::value_error(name.text() + ": " + text);
}

States<double> rates_of(const CellInfo& cell, const py::object& zoneout) {
  States<double> rates{};
  if (zoneout.is_none()) return rates;
  const py::tuple each = group("zoneout", zoneout, cell.states.size());
  for (std::size_t k = 0; k < each.size(); ++k) {
    if (!py::isinstance<py::float_>(each[k])) throw py::type_error("zoneout: expected floats");
    rates[k] = each[k].cast<double>();
    check_rate("zoneout", rates[k]);
  }
  return rates;
}

WeightGroup::WeightGroup(const std::string& name, const CellInfo& cell, const py::object& object,
                         const Naming& naming)
    : cell_(cell), naming_(naming), arrays_(group(name, object, 4 + cell.unit_parameters.size())) {}

}  // namespace rnncore
