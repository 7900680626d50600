// The stepper: one time step of a stack of layers, called straight from Python. A call costs less
// than a microsecond beside its arithmetic, so that it goes past pybind11's dispatcher and checks
// only what it needs to be safe: whatever is not plain is left to the caller.
#include <memory>

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/cells.hpp"
#include "core/parallel.hpp"
#include "sequence/step.hpp"

namespace rnncore {
namespace {

using ArrayProxy = py::detail::PyArray_Proxy;

// Beyond this size of the weights, other Python threads may run meanwhile.
constexpr Index gil_bytes = 1 << 20;
// Bytes of weights that one thread reads in a nanosecond.
constexpr Index bytes_per_unit = 80;

class AnyStepper {
 public:
  virtual ~AnyStepper() = default;
  // (y, state), or NotImplemented.
  virtual PyObject* operator()(PyObject* x, PyObject* state) = 0;
};

template <class T>
class Stepper final : public AnyStepper {
 public:
  Stepper(const CellInfo& cell, const py::list& layers, const py::object& state_type)
      : kernel_(step_kernel<T>(cell.name)), state_type_(state_type), dtype_(py::dtype::of<T>()) {
    const auto gates = static_cast<Index>(cell.gates.size());
    for (const py::handle& item : layers) add(gates, py::cast<py::tuple>(item));
    hidden_ = layers_.front().weight_hh.cols;
    input_ = layers_.front().weight_ih.cols;
  }

  PyObject* operator()(PyObject* x_object, PyObject* state) override {
    const ArrayProxy* const x = plain(x_object);
    if (x == nullptr || x->nd < 1 || x->nd > 2 || x->dimensions[x->nd - 1] != input_)
      return refuse();
    const Index batch = x->nd == 1 ? 1 : x->dimensions[0];
    if (batch < 1 || batch > max_step_rows) return refuse();

    const bool has_c = !state_type_.is_none();
    PyObject* h_object = state;
    PyObject* c_object = nullptr;
    if (has_c && state != Py_None) {
      if (!PyTuple_Check(state) || PyTuple_GET_SIZE(state) != 2) return refuse();
      h_object = PyTuple_GET_ITEM(state, 0);
      c_object = PyTuple_GET_ITEM(state, 1);
    }
    const Index size = static_cast<Index>(layers_.size()) * batch * hidden_;
    const T *h_prev = nullptr, *c_prev = nullptr;
    std::vector<T> zeros;
    if (state == Py_None) {
      zeros.resize(static_cast<std::size_t>(size));
      h_prev = c_prev = zeros.data();
    } else {
      h_prev = state_of(h_object, x->nd, batch);
      if (has_c) c_prev = state_of(c_object, x->nd, batch);
      if (h_prev == nullptr || (has_c && c_prev == nullptr)) return refuse();
    }

    const Index single = x->nd == 1 ? 1 : 0;
    const Py_intptr_t y_shape[] = {batch, hidden_};
    const Py_intptr_t state_shape[] = {static_cast<Index>(layers_.size()), batch, hidden_};
    const Py_intptr_t single_shape[] = {state_shape[0], hidden_};
    const auto new_state = [&] { return single ? empty(2, single_shape) : empty(3, state_shape); };
    const py::object y = single ? empty(1, y_shape + 1) : empty(2, y_shape);
    const py::object h = new_state();
    const py::object c = has_c ? new_state() : py::none();
    run(batch, reinterpret_cast<const T*>(x->data), h_prev, c_prev, data(y), data(h),
        has_c ? data(c) : nullptr);
    return result(y, h, c).release().ptr();
  }

 private:
  void add(Index gates, const py::tuple& arrays) {
    if (arrays.size() != 4) throw py::value_error("layers: expected 4 arrays in each");
    ArrayCheck check;
    const Index H = dimension("weight_hh", arrays[1], 2, 1);
    const Index I = dimension("weight_ih", arrays[0], 2, 1), rows = checked_mul(gates, H);
    if (H < 1 || I < 1) throw py::value_error("layers: expected at least one unit and feature");
    StepArgs<T> a;
    a.weight_ih = check.matrix<T>("weight_ih", arrays[0], {rows, I});
    a.weight_hh = check.matrix<T>("weight_hh", arrays[1], {rows, H});
    a.bias_ih = check.optional_contiguous<T>("bias_ih", arrays[2], {rows});
    a.bias_hh = check.optional_contiguous<T>("bias_hh", arrays[3], {rows});
    if ((a.bias_ih == nullptr) != (a.bias_hh == nullptr)) {
      throw py::value_error("bias_hh: expected both biases or neither");
    }
    if (!layers_.empty() && (I != H || H != layers_.front().weight_hh.cols)) {
      throw py::value_error("layers: expected layers that fit on one another");
    }
    layers_.push_back(a);
    keep_.push_back(arrays);
    bytes_ += rows * (I + H) * Index{sizeof(T)};
  }

  // The array behind `object` if it is exactly an ndarray that can be read as it is, else null.
  const ArrayProxy* plain(PyObject* object) const {
    const auto& api = py::detail::npy_api::get();
    if (Py_TYPE(object) != api.PyArray_Type_) return nullptr;
    const auto* array = reinterpret_cast<const ArrayProxy*>(object);
    constexpr int flags =
        py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    return array->descr == dtype_.ptr() && (array->flags & flags) == flags ? array : nullptr;
  }

  const T* state_of(PyObject* object, int x_rank, Index batch) const {
    const ArrayProxy* const array = plain(object);
    if (array == nullptr || array->nd != x_rank + 1) return nullptr;
    const Py_intptr_t* const shape = array->dimensions;
    const bool fits = shape[0] == static_cast<Index>(layers_.size()) &&
                      (x_rank == 1 || shape[1] == batch) && shape[x_rank] == hidden_;
    return fits ? reinterpret_cast<const T*>(array->data) : nullptr;
  }

  py::object empty(int rank, const Py_intptr_t* shape) const {
    const auto& api = py::detail::npy_api::get();
    Py_INCREF(dtype_.ptr());  // stolen
    PyObject* const array = api.PyArray_NewFromDescr_(api.PyArray_Type_, dtype_.ptr(), rank, shape,
                                                      nullptr, nullptr, 0, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(array);
  }

  static T* data(const py::object& array) {
    return reinterpret_cast<T*>(reinterpret_cast<const ArrayProxy*>(array.ptr())->data);
  }

  void run(Index batch, const T* x, const T* h_prev, const T* c_prev, T* y, T* h, T* c) {
    const auto work = [&](const Worker& worker) {
      Matrix<const T> input{x, batch, input_, input_};
      for (std::size_t k = 0; k < layers_.size(); ++k) {
        const Index at = static_cast<Index>(k) * batch * hidden_;
        StepArgs<T> a = layers_[k];
        a.x = input;
        a.h_prev = {h_prev + at, batch, hidden_, hidden_};
        a.h = {h + at, batch, hidden_, hidden_};
        if (c != nullptr) {
          a.c_prev = {c_prev + at, batch, hidden_, hidden_};
          a.c = {c + at, batch, hidden_, hidden_};
        }
        kernel_(worker, a);
        worker.barrier();
        input = {h + at, batch, hidden_, hidden_};
      }
      if (worker.rank == 0) std::copy_n(input.data, batch * hidden_, y);
    };
    if (bytes_ <= gil_bytes) {
      parallel(1, work);
    } else {
      const py::gil_scoped_release release;
      parallel(threads_for(bytes_ / bytes_per_unit, hidden_), work);
    }
  }

  // (y, h), or (y, state_type(h, c)) as a named tuple's own constructor would make it.
  py::object result(const py::object& y, const py::object& h, const py::object& c) const {
    if (state_type_.is_none())
      return py::reinterpret_steal<py::object>(PyTuple_Pack(2, y.ptr(), h.ptr()));
    auto* const type = reinterpret_cast<PyTypeObject*>(state_type_.ptr());
    PyObject* const state = type->tp_alloc(type, 2);
    if (state == nullptr) throw py::error_already_set();
    PyTuple_SET_ITEM(state, 0, py::object(h).release().ptr());
    PyTuple_SET_ITEM(state, 1, py::object(c).release().ptr());
    const auto owned = py::reinterpret_steal<py::object>(state);
    return py::reinterpret_steal<py::object>(PyTuple_Pack(2, y.ptr(), state));
  }

  static PyObject* refuse() {
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
  }

  const StepKernel<T> kernel_;
  const py::object state_type_;
  const py::dtype dtype_;
  std::vector<StepArgs<T>> layers_;
  std::vector<py::tuple> keep_;  // the weights' arrays
  Index hidden_ = 0, input_ = 0, bytes_ = 0;
};

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

// A function of (x_t, state) for a stack of layers, each (weight_ih, weight_hh, bias_ih, bias_hh).
// It reads the arrays as they are at each call. `state_type`: the named tuple of h and c, or None.
py::object make_stepper(const std::string& cell, const py::list& layers,
                        const py::object& state_type) {
  const CellInfo info = find_cell(cell);
  if (layers.empty()) throw py::value_error("layers: expected at least one");
  if (info.has_c == state_type.is_none() ||
      (info.has_c &&
       PyObject_IsSubclass(state_type.ptr(), reinterpret_cast<PyObject*>(&PyTuple_Type)) != 1)) {
    PyErr_Clear();
    throw py::type_error("state_type: expected a named tuple for a cell with c, else None");
  }
  const py::object first = py::cast<py::tuple>(layers[0])[0];
  return by_dtype("weight_ih", first, [&](auto zero) -> py::object {
    using T = decltype(zero);
    auto stepper = std::make_unique<Stepper<T>>(info, layers, state_type);
    const py::capsule capsule(static_cast<AnyStepper*>(stepper.release()), capsule_name,
                              [](void* p) { delete static_cast<AnyStepper*>(p); });
    return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&method, capsule.ptr(), nullptr));
  });
}

}  // namespace

void bind_step(py::module_& m) {
  using py::arg;
  m.def("make_stepper", &make_stepper, arg("cell"), arg("layers"), arg("state_type"));
}

}  // namespace rnncore
