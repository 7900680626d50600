// The checks behind arrays.hpp.
#include "bind/arrays.hpp"

#include <algorithm>
#include <cstdlib>

namespace rnncore {
namespace {

[[noreturn]] void type_error(const std::string& name, const std::string& text) {
  throw py::type_error(name + ": " + text);
}

[[noreturn]] void value_error(const std::string& name, const std::string& text) {
  throw py::value_error(name + ": " + text);
}

std::string type_name(const py::object& object) {
  return py::str(py::type::of(object).attr("__name__"));
}

py::array as_array(const std::string& name, const py::object& object) {
  if (!py::isinstance<py::array>(object)) {
    type_error(name, "expected a numpy array, got " + type_name(object));
  }
  return py::reinterpret_borrow<py::array>(object);
}

Shape shape_of(const py::array& array) {
  return Shape(array.shape(), array.shape() + array.ndim());
}

bool matches(const Shape& expected, const Shape& got) {
  return expected.size() == got.size() &&
         std::equal(expected.begin(), expected.end(), got.begin(),
                    [](Index e, Index g) { return e == any_size || e == g; });
}

// True when no two elements share an address: the outer dimensions, by growing stride, each step
// over everything inside them.
bool self_disjoint(const Shape& shape, const Shape& stride) {
  std::vector<std::pair<Index, Index>> dims;  // (stride, size)
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] > 1) dims.emplace_back(std::abs(stride[d]), shape[d]);
  }
  std::sort(dims.begin(), dims.end());
  Index extent = 1;
  for (const auto& [step, size] : dims) {
    if (step < extent) return false;
    extent += step * (size - 1);
  }
  return true;
}

}  // namespace

std::string shape_text(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] == any_size ? "any" : std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

bool is_float64(const std::string& name, const py::object& object) {
  const py::dtype dtype = as_array(name, object).dtype();
  if (dtype.equal(py::dtype::of<double>())) return true;
  if (dtype.equal(py::dtype::of<float>())) return false;
  type_error(name, "expected dtype float32 or float64, got " + std::string(py::str(dtype)));
}

Index dimension(const std::string& name, const py::object& object, int rank, int axis) {
  const py::array array = as_array(name, object);
  if (array.ndim() != rank) {
    value_error(name, "expected " + std::to_string(rank) + " dimensions, got " +
                          std::to_string(array.ndim()));
  }
  return array.shape(axis);
}

ArrayCheck::Checked ArrayCheck::check(const std::string& name, const py::object& object,
                                      const Shape& expected, const py::dtype& dtype, bool output) {
  py::array array = as_array(name, object);
  if (!array.dtype().equal(dtype)) {
    type_error(name, "expected dtype " + std::string(py::str(dtype)) + ", got " +
                         std::string(py::str(array.dtype())));
  }
  Checked result{nullptr, shape_of(array), {}};
  if (!matches(expected, result.shape)) {
    value_error(name,
                "expected shape " + shape_text(expected) + ", got " + shape_text(result.shape));
  }
  const Index item = array.itemsize();
  const std::byte* data = static_cast<const std::byte*>(array.data());
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(item) != 0) {
    value_error(name, "expected an aligned array; pass a copy");
  }
  if (output && !array.writeable())
    value_error(name, "expected a writable array, got a read-only one");

  const auto rank = result.shape.size();
  result.stride.resize(rank);
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
    value_error(name, "the last dimension must be contiguous; pass numpy.ascontiguousarray(" + name + ")");
  }
  // A matrix is read in blocks of rows: its rows must not overlap or run backwards.
  if (rank == 2 && result.shape[0] > 1 && result.stride[0] < result.shape[1]) {
    value_error(name, "rows must not overlap or run backwards; pass a contiguous copy");
  }
  if (output && !self_disjoint(result.shape, result.stride)) {
    value_error(name, "elements of an output must not share memory");
  }
  if (array.size() > 0) spans_.push_back({name, data + low, data + high, output});
  result.data = const_cast<std::byte*>(data);
  return result;
}

void* ArrayCheck::contiguous_of(const std::string& name, const Checked& array) {
  Index natural = 1;
  for (std::size_t d = array.shape.size(); d-- > 0;) {
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
        value_error(out.name, "this output shares memory with " + other.name);
      }
    }
  }
}

}  // namespace rnncore
