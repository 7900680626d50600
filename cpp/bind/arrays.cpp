// The checks behind arrays.hpp.
#include "bind/arrays.hpp"

#include <algorithm>
#include <cstdlib>

namespace rnncore {
namespace {

[[noreturn]] void type_error(const ArrayName& name, const std::string& text) {
  throw py::type_error(name.text() + ": " + text);
}

[[noreturn]] void value_error(const ArrayName& name, const std::string& text) {
  throw py::value_error(name.text() + ": " + text);
}

std::string type_name(const py::object& object) {
  return py::str(py::type::of(object).attr("__name__"));
}

py::array as_array(const ArrayName& name, const py::object& object) {
  if (!py::isinstance<py::array>(object)) {
    type_error(name, "expected a numpy array, got " + type_name(object));
  }
  return py::reinterpret_borrow<py::array>(object);
}

// "(3, 4)"; any_size reads "any".
template <class Sizes>
std::string shape_text(const Sizes& sizes, std::size_t rank) {
  std::string text = "(";
  for (std::size_t d = 0; d < rank; ++d) {
    if (d > 0) text += ", ";
    text += sizes[d] == any_size ? "any" : std::to_string(sizes[d]);
  }
  return text + (rank == 1 ? ",)" : ")");
}

Shape shape_of(const ArrayName& name, const py::array& array, const Shape& expected) {
  const auto rank = static_cast<std::size_t>(array.ndim());
  Shape shape = Shape::of_rank(expected.rank());
  bool matches = rank == expected.rank();
  for (std::size_t d = 0; matches && d < rank; ++d) {
    shape[d] = array.shape(static_cast<py::ssize_t>(d));
    matches = expected[d] == any_size || expected[d] == shape[d];
  }
  if (matches) return shape;
  value_error(name, "expected shape " + shape_text(expected, expected.rank()) + ", got " +
                        shape_text(array.shape(), rank));
}

// True when no two elements share an address: the outer dimensions, by growing stride, each step
// over everything inside them.
bool self_disjoint(const Shape& shape, const Shape& stride) {
  std::array<std::pair<Index, Index>, 3> dims;  // (stride, size)
  std::size_t count = 0;
  for (std::size_t d = 0; d < shape.rank(); ++d) {
    if (shape[d] > 1) dims[count++] = {std::abs(stride[d]), shape[d]};
  }
  for (std::size_t i = 1; i < count; ++i) {
    for (std::size_t j = i; j > 0 && dims[j] < dims[j - 1]; --j) std::swap(dims[j], dims[j - 1]);
  }
  Index extent = 1;
  for (std::size_t i = 0; i < count; ++i) {
    if (dims[i].first < extent) return false;
    extent += dims[i].first * (dims[i].second - 1);
  }
  return true;
}

}  // namespace

std::string ArrayName::text() const {
  std::string result(prefix);
  result.append(name).append(suffix);
  return layer < 0 ? result : result + " of layer " + std::to_string(layer);
}

bool is_float64(const ArrayName& name, const py::object& object) {
  const py::dtype dtype = as_array(name, object).dtype();
  if (dtype.equal(py::dtype::of<double>())) return true;
  if (dtype.equal(py::dtype::of<float>())) return false;
  type_error(name, "expected dtype float32 or float64, got " + std::string(py::str(dtype)));
}

Index dimension(const ArrayName& name, const py::object& object, int rank, int axis) {
  const py::array array = as_array(name, object);
  if (array.ndim() != rank) {
    value_error(name, "expected " + std::to_string(rank) + " dimensions, got " +
                          std::to_string(array.ndim()));
  }
  return array.shape(axis);
}

py::object pin_of(PyObject* array) {
  const auto& api = py::detail::npy_api::get();
  const auto* owner = py::detail::array_proxy(array);
  while ((owner->flags & py::detail::npy_api::NPY_ARRAY_OWNDATA_) == 0) {
    array = owner->base;
    if (array == nullptr || !api.PyArray_Check_(array)) return {};
    owner = py::detail::array_proxy(array);
  }
  PyObject* const pin = PyWeakref_NewRef(array, nullptr);
  if (pin == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(pin);
}

ArrayCheck::Checked ArrayCheck::check(const ArrayName& name, const py::object& object,
                                      const Shape& expected, const py::dtype& dtype, bool output) {
  const py::array array = as_array(name, object);
  const bool same = py::detail::array_proxy(array.ptr())->descr == dtype.ptr();
  if (!same && !array.dtype().equal(dtype)) {
    type_error(name, "expected dtype " + std::string(py::str(dtype)) + ", got " +
                         std::string(py::str(array.dtype())));
  }
  Checked result{nullptr, shape_of(name, array, expected), Shape::of_rank(expected.rank())};
  const Index item = array.itemsize();
  const std::byte* data = static_cast<const std::byte*>(array.data());
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(item) != 0) {
    value_error(name, "expected an aligned array; pass a copy");
  }
  if (output && !array.writeable())
    value_error(name, "expected a writable array, got a read-only one");

  const auto rank = result.shape.rank();
  Index natural = 1, low = 0, high = item;
  for (std::size_t d = rank; d-- > 0;) {
    const Index size = result.shape[d], bytes = array.strides(static_cast<py::ssize_t>(d));
    const bool strided = size > 1 && array.size() > 0;  // else numpy's stride means nothing
    if (strided && bytes % item != 0) {
      value_error(name, "strides must be whole elements; pass a copy");
    }
    result.stride[d] = strided ? bytes / item : natural;
    natural = checked_mul(natural, std::max<Index>(size, 1));
    if (strided) (bytes < 0 ? low : high) += checked_mul(bytes, size - 1);
  }
  if (rank > 0 && result.stride[rank - 1] != 1) {
    value_error(name, "the last dimension must be contiguous; pass numpy.ascontiguousarray(" +
                          name.text() + ")");
  }
  // A matrix is read in blocks of rows: its rows must not overlap or run backwards.
  if (rank == 2 && result.shape[0] > 1 && result.stride[0] < result.shape[1]) {
    value_error(name, "rows must not overlap or run backwards; pass a contiguous copy");
  }
  if (output && !self_disjoint(result.shape, result.stride)) {
    value_error(name, "elements of an output must not share memory");
  }
  if (array.size() > 0) {
    spans_.push_back({name, data + low, data + high, output, array.ptr()});
    bytes_ += std::min(high - low, large);
    if (bytes_ >= large) pin();
  }
  result.data = const_cast<std::byte*>(data);
  return result;
}

void ArrayCheck::pin() {
  while (pins_.size() < spans_.size()) pins_.push_back(pin_of(spans_[pins_.size()].array));
}

void* ArrayCheck::contiguous_of(const ArrayName& name, const Checked& array) {
  Index natural = 1;
  for (std::size_t d = array.shape.rank(); d-- > 0;) {
    if (array.stride[d] != natural) value_error(name, "expected a C-contiguous array; pass a copy");
    natural *= std::max<Index>(array.shape[d], 1);
  }
  return array.data;
}

void ArrayCheck::no_overlap() const {
  for (const Span& out : spans_) {
    if (!out.output) continue;
    for (const Span& other : spans_) {
      if (&other != &out && out.begin < other.end && other.begin < out.end) {
        value_error(out.name, "this output shares memory with " + other.name.text());
      }
    }
  }
}

void expect_up_to(Index most, const ArrayName& name, const std::vector<Index>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] >= 0 && values[i] <= most) continue;
    value_error(name, "expected integers in [0, " + std::to_string(most) + "], got " +
                          std::to_string(values[i]) + " at index " + std::to_string(i));
  }
}

void check_rate(const char* name, double rate) {
  if (rate >= 0 && rate < 1) return;
  throw py::value_error(std::string(name) + ": expected a number in [0, 1), got " +
                        std::string(py::str(py::float_(rate))));
}

std::uint64_t unsigned_of(const char* name, const py::object& object, std::uint64_t most) {
  if (!py::isinstance<py::int_>(object)) {
    throw py::type_error(std::string(name) + ": expected an int");
  }
  const unsigned long long result = PyLong_AsUnsignedLongLong(object.ptr());
  const bool fits = PyErr_Occurred() == nullptr;
  PyErr_Clear();
  if (fits && result <= most) return result;
  throw py::value_error(std::string(name) + ": expected an integer in [0, " + std::to_string(most) +
                        "], got " + std::string(py::str(object)));
}

}  // namespace rnncore
