// Binding of the stepper: a function bound to a layer's arrays.
#include "bind/stepper.hpp"

#include <memory>

#include "bind/bind.hpp"

namespace rnncore {
namespace {

constexpr const char* capsule_name = "rnncore.stepper";

PyObject* call_stepper(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "stepper: expected x_t and state");
    return nullptr;
  }
  auto* const stepper = static_cast<AnyStepper*>(PyCapsule_GetPointer(self, capsule_name));
  if (stepper == nullptr) return nullptr;
  try {
    return (*stepper)(arguments[0], arguments[1]);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyMethodDef method = {"stepper",
                      reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_stepper)),
                      METH_FASTCALL, "stepper(x_t, state) -> (y_t, state), or NotImplemented"};

// Whether `type` is a class of tuples of two that `Stepper::result` may make.
bool is_pair_type(const py::object& type) {
  auto* const tuple = &PyTuple_Type;
  if (!PyType_Check(type.ptr()) ||
      !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type.ptr()), tuple)) {
    return false;
  }
  try {
    const py::object sample = type(py::none(), py::none());
    return py::type::of(sample).is(type) && PyTuple_GET_SIZE(sample.ptr()) == 2;
  } catch (const py::error_already_set&) {
    return false;  // time.struct_time, say
  }
}

// A function of (x_t, state) for a stack of layers, each a tuple of weights as for `forward`.
// It reads the arrays' numbers at each call. `state_type`: the named tuple of h and c, or None.
// `zoneout`: the rate of each state, or None.
py::object make_stepper(const py::object& cell, const py::list& given_layers,
                        const py::object& state_type, const py::object& zoneout) {
  const GivenCell given(cell);
  const CellInfo& info = given.info();
  const bool pair = info.states.size() == 2;
  const std::size_t arrays = 4 + info.unit_parameters.size();
  const py::tuple layers = list_of("layers", given_layers);
  if (layers.empty()) throw py::value_error("layers: expected at least one");
  if (pair ? !is_pair_type(state_type) : !state_type.is_none()) {
    throw py::type_error("state_type: expected a named tuple for a cell with c, else None");
  }
  for (const py::handle& layer : layers) {
    if (!py::isinstance<py::tuple>(layer) ||
        py::reinterpret_borrow<py::tuple>(layer).size() != arrays) {
      throw py::value_error("layers: expected tuples of " + std::to_string(arrays) + " arrays");
    }
  }
  const Zoneout rates{.rates = rates_of(info, zoneout)};
  const py::object first = py::cast<py::tuple>(layers[0])[0];
  return by_dtype("weight_ih", first, [&](auto zero) -> py::object {
    using T = decltype(zero);
    auto stepper = std::make_unique<Stepper<T>>(given, layers, state_type, rates);
    const py::capsule capsule(static_cast<AnyStepper*>(stepper.release()), capsule_name,
                              [](void* p) { delete static_cast<AnyStepper*>(p); });
    return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&method, capsule.ptr(), nullptr));
  });
}

}  // namespace

void bind_stepper(py::module_& m) {
  using py::arg;
  m.def("make_stepper", &make_stepper, arg("cell"), arg("layers"), arg("state_type"),
        arg("zoneout") = py::none());
}

}  // namespace rnncore
