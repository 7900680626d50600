// The stepper: one time step of a stack of layers, called straight from Python. A call costs less
// than a microsecond beside its arithmetic, so that it goes past pybind11's dispatcher and checks
// only what it needs to be safe: whatever is not plain is left to the caller.
#pragma once

#include <array>
#include <deque>
#include <utility>

#include "bind/given_cell.hpp"
#include "bind/groups.hpp"
#include "core/arena.hpp"
#include "core/parallel.hpp"
#include "recurrence/layer/step.hpp"

namespace rnncore {

using ArrayProxy = py::detail::PyArray_Proxy;

// Beyond this size of the weights, other Python threads may run meanwhile.
inline constexpr Index gil_bytes = 1 << 20;
// Bytes of weights that one thread reads in a nanosecond.
inline constexpr Index bytes_per_unit = 80;

class AnyStepper {
 public:
  virtual ~AnyStepper() = default;
  // (y, state), or NotImplemented.
  virtual PyObject* operator()(PyObject* x, PyObject* state) = 0;
};

template <class T>
class Stepper final : public AnyStepper {
 public:
  Stepper(const GivenCell& cell, const py::tuple& layers, const py::object& state_type,
          const Zoneout& zoneout)
      : state_type_(state_type), dtype_(py::dtype::of<T>()) {
    for (const py::handle& item : layers) add(cell, py::cast<py::tuple>(item), zoneout);
    hidden_ = layers_.front().weights.weight_hh.cols;
    input_ = layers_.front().weights.weight_ih.cols;
  }

  PyObject* operator()(PyObject* x_object, PyObject* state) override {
    const ArrayProxy* const x = plain(x_object);
    if (x == nullptr || x->nd < 1 || x->nd > 2 || x->dimensions[x->nd - 1] != input_ || moved()) {
      return refuse();
    }
    const Index batch = x->nd == 1 ? 1 : x->dimensions[0];
    if (batch < 1 || batch > max_step_rows) return refuse();
    const Index layers = static_cast<Index>(layers_.size());
    std::vector<T> zeros;
    const T *h_prev = nullptr, *c_prev = nullptr;
    if (state == Py_None) {
      zeros.resize(static_cast<std::size_t>(layers * batch * hidden_));
      h_prev = c_prev = zeros.data();
    } else if (!read_state(state, x->nd, batch, h_prev, c_prev)) {
      return refuse();
    }
    // Without its batch dimension, where x has none.
    const Py_intptr_t shape[] = {layers, batch, hidden_}, single_shape[] = {layers, hidden_};
    const bool single = x->nd == 1;
    const std::array<py::object, 3> pins = pins_of(x_object, state);
    const auto new_state = [&] { return single ? empty(2, single_shape) : empty(3, shape); };
    const py::object y = single ? empty(1, single_shape + 1) : empty(2, shape + 1);
    const py::object h = new_state(), c = has_c() ? new_state() : py::none();
    run(batch, reinterpret_cast<const T*>(x->data), h_prev, c_prev, data(y), data(h),
        has_c() ? data(c) : nullptr);
    return result(y, h, c);
  }

 private:
  void add(const GivenCell& given, const py::tuple& arrays, const Zoneout& zoneout) {
    const CellInfo& cell = given.info();
    ArrayCheck& check = checks_.emplace_back();
    const Index H = dimension("weight_hh", arrays[1], 2, 1);
    const Index I = dimension("weight_ih", arrays[0], 2, 1);
    if (H < 1 || I < 1) throw py::value_error("layers: expected at least one unit and feature");
    StepArgs<T> a;
    a.cell = &cell;
    a.choice = given.choice;
    a.zoneout = zoneout;
    a.weights = WeightGroup("layers", cell, arrays).read<T>(check, I, H);
    check.pin();
    if (!layers_.empty() && (I != H || H != layers_.front().weights.weight_hh.cols)) {
      throw py::value_error("layers: expected layers that fit on one another");
    }
    layers_.push_back(a);
    for (const py::handle& array : arrays) {
      if (!array.is_none()) {
        const auto kept = py::reinterpret_borrow<py::object>(array);
        arrays_.emplace_back(kept, data(kept));
      }
    }
    bytes_ += checked_mul(cell.gates, H) * (I + H) * Index{sizeof(T)};
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

  bool has_c() const { return !state_type_.is_none(); }

  bool read_state(PyObject* state, int x_rank, Index batch, const T*& h, const T*& c) const {
    if (!has_c()) return (h = state_of(state, x_rank, batch)) != nullptr;
    // A tuple of another class, such as FeedbackState(hidden, y), means something else.
    const py::handle type = reinterpret_cast<PyObject*>(Py_TYPE(state));
    if (!PyTuple_CheckExact(state) && !type.is(state_type_)) return false;
    if (PyTuple_GET_SIZE(state) != 2) return false;
    h = state_of(PyTuple_GET_ITEM(state, 0), x_rank, batch);
    c = state_of(PyTuple_GET_ITEM(state, 1), x_rank, batch);
    return h != nullptr && c != nullptr;
  }

  // Of arrays that are read while other Python threads run.
  std::array<py::object, 3> pins_of(PyObject* x, PyObject* state) const {
    if (bytes_ <= gil_bytes) return {};
    if (state == Py_None) return {pin_of(x)};
    if (!has_c()) return {pin_of(x), pin_of(state)};
    return {pin_of(x), pin_of(PyTuple_GET_ITEM(state, 0)), pin_of(PyTuple_GET_ITEM(state, 1))};
  }

  // Whether an array of the weights has other memory now (ndarray.__setstate__).
  bool moved() const {
    for (const auto& [array, at] : arrays_) {
      if (data(array) != at) return true;
    }
    return false;
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
    auto result = py::reinterpret_steal<py::object>(array);
    if (prefills) {
      const auto bytes = py::reinterpret_borrow<py::array>(result).nbytes();
      prefill(data(result), static_cast<std::size_t>(bytes));
    }
    return result;
  }

  static T* data(const py::object& array) {
    return reinterpret_cast<T*>(reinterpret_cast<const ArrayProxy*>(array.ptr())->data);
  }

  void run(Index batch, const T* x, const T* h_prev, const T* c_prev, T* y, T* h, T* c) {
    const CellInfo& cell = *layers_.front().cell;
    const Index gates = cell.wiring.has_reset() ? cell.slots * hidden_ : 0;
    std::vector<T> scratch(static_cast<std::size_t>(gates > 0 ? batch * (gates + hidden_) : 0));
    prefill(scratch.data(), scratch.size() * sizeof(T));
    const auto work = [&](const Team& team) {
      Matrix<const T> input{x, batch, input_, input_};
      for (std::size_t k = 0; k < layers_.size(); ++k) {
        const Index at = static_cast<Index>(k) * batch * hidden_;
        StepArgs<T> a = layers_[k];
        a.x = input;
        a.state_0[0] = {h_prev + at, batch, hidden_, hidden_};
        a.state_n[0] = {h + at, batch, hidden_, hidden_};
        if (c != nullptr) {
          a.state_0[1] = {c_prev + at, batch, hidden_, hidden_};
          a.state_n[1] = {c + at, batch, hidden_, hidden_};
        }
        if (gates > 0) {
          a.gates = {scratch.data(), batch, gates, gates};
          a.q = {scratch.data() + batch * gates, batch, hidden_, hidden_};
          team.run(team.threads(), [&](const Worker& worker) { reset_step(worker, a); });
        }
        team.run(team.threads(), [&](const Worker& worker) { step(worker, a); });
        input = {h + at, batch, hidden_, hidden_};
      }
      std::copy_n(input.data, batch * hidden_, y);
    };
    if (bytes_ <= gil_bytes) {
      parallel(1, work, Interruptible::no);
    } else {
      const Released release;
      parallel(threads_for(bytes_ / bytes_per_unit, hidden_), work, Interruptible::no);
    }
  }

  // A new (y, h), or (y, state_type((h, c))) as tuple itself makes it, past the named tuple's own
  // constructor; null with an error set where memory is short.
  PyObject* result(const py::object& y, const py::object& h, const py::object& c) const {
    if (!has_c()) return PyTuple_Pack(2, y.ptr(), h.ptr());
    const auto both = py::reinterpret_steal<py::object>(PyTuple_Pack(2, h.ptr(), c.ptr()));
    if (!both) return nullptr;
    const auto arguments = py::reinterpret_steal<py::object>(PyTuple_Pack(1, both.ptr()));
    if (!arguments) return nullptr;
    auto* const type = reinterpret_cast<PyTypeObject*>(state_type_.ptr());
    const auto state =
        py::reinterpret_steal<py::object>(PyTuple_Type.tp_new(type, arguments.ptr(), nullptr));
    return state ? PyTuple_Pack(2, y.ptr(), state.ptr()) : nullptr;
  }

  static PyObject* refuse() {
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
  }

  const py::object state_type_;
  const py::dtype dtype_;
  std::vector<StepArgs<T>> layers_;
  std::deque<ArrayCheck> checks_;                        // of the weights, which stay pinned
  std::vector<std::pair<py::object, const T*>> arrays_;  // the weights', and where they lie
  Index hidden_ = 0, input_ = 0, bytes_ = 0;
};

}  // namespace rnncore
