// numpy arrays <-> views. Everything a kernel will touch is checked here: rank, dtype, byte order,
// alignment, strides, sizes, writability and overlap. People call the binding directly.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "bind/released.hpp"
#include "core/types.hpp"

namespace rnncore {

namespace py = pybind11;

// An expected size that matches any.
inline constexpr Index any_size = -1;

// What an error calls an array, put together only there: "dweight_ih of layer 1".
struct ArrayName {
  std::string_view name, prefix = {}, suffix = {};
  int layer = -1;  // or not of a layer

  constexpr ArrayName(const char* text) : name(text) {}  // most names are literals
  constexpr ArrayName(std::string_view of, std::string_view before, std::string_view behind,
                      int of_layer)
      : name(of), prefix(before), suffix(behind), layer(of_layer) {}

  std::string text() const;
};

// The sizes of up to three dimensions.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Index> sizes) : rank_(sizes.size()) {
    assert(rank_ <= sizes_.size());
    std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  }
  static Shape of_rank(std::size_t rank) {
    Shape shape;
    shape.rank_ = rank;
    return shape;
  }

  std::size_t rank() const { return rank_; }
  Index operator[](std::size_t d) const { return sizes_[d]; }
  Index& operator[](std::size_t d) { return sizes_[d]; }

 private:
  std::array<Index, 3> sizes_{};
  std::size_t rank_ = 0;
};

// True for float64, false for float32; TypeError that names the argument for anything else.
bool is_float64(const ArrayName& name, const py::object& object);

// Calls f with a float or a double by the dtype of `object`.
template <class F>
auto by_dtype(const ArrayName& name, const py::object& object, F&& f) {
  return is_float64(name, object) ? f(double{}) : f(float{});
}

// A weak reference to the array that owns the memory of `array`, or nothing: numpy's resize refuses
// arrays that have one, even without its check of references.
py::object pin_of(PyObject* array);

// One call's arrays. Each accessor raises TypeError or ValueError that starts with the argument's
// name when the array is not what a kernel can read or write; None gives an empty view where
// `optional` is in the name. Outputs must not share memory with any other array: `no_overlap`.
// As long as this lives, numpy's resize cannot take the memory of large arrays from under a kernel:
// `pin`. Their numbers may change all the same: none that addresses memory is read again.
class ArrayCheck {
 public:
  ArrayCheck() { spans_.reserve(32); }

  template <class T>
  Matrix<const T> matrix(const ArrayName& name, const py::object& object, const Shape& shape) {
    return matrix_of<const T>(check(name, object, shape, py::dtype::of<T>(), false));
  }
  template <class T>
  Matrix<T> out_matrix(const ArrayName& name, const py::object& object, const Shape& shape) {
    return matrix_of<T>(check(name, object, shape, py::dtype::of<T>(), true));
  }
  template <class T>
  Matrix<const T> optional_matrix(const ArrayName& name, const py::object& object,
                                  const Shape& shape) {
    return object.is_none() ? Matrix<const T>{} : matrix<T>(name, object, shape);
  }
  template <class T>
  Matrix<T> optional_out_matrix(const ArrayName& name, const py::object& object,
                                const Shape& shape) {
    return object.is_none() ? Matrix<T>{} : out_matrix<T>(name, object, shape);
  }

  template <class T>
  Sequence<const T> sequence(const ArrayName& name, const py::object& object, const Shape& shape) {
    return sequence_of<const T>(check(name, object, shape, py::dtype::of<T>(), false));
  }
  template <class T>
  Sequence<T> out_sequence(const ArrayName& name, const py::object& object, const Shape& shape) {
    return sequence_of<T>(check(name, object, shape, py::dtype::of<T>(), true));
  }
  template <class T>
  Sequence<const T> optional_sequence(const ArrayName& name, const py::object& object,
                                      const Shape& shape) {
    return object.is_none() ? Sequence<const T>{} : sequence<T>(name, object, shape);
  }
  template <class T>
  Sequence<T> optional_out_sequence(const ArrayName& name, const py::object& object,
                                    const Shape& shape) {
    return object.is_none() ? Sequence<T>{} : out_sequence<T>(name, object, shape);
  }

  // Contiguous arrays of any rank, as a pointer to their elements.
  template <class T>
  const T* contiguous(const ArrayName& name, const py::object& object, const Shape& shape) {
    return static_cast<const T*>(
        contiguous_of(name, check(name, object, shape, py::dtype::of<T>(), false)));
  }
  template <class T>
  T* out_contiguous(const ArrayName& name, const py::object& object, const Shape& shape) {
    return static_cast<T*>(
        contiguous_of(name, check(name, object, shape, py::dtype::of<T>(), true)));
  }
  template <class T>
  const T* optional_contiguous(const ArrayName& name, const py::object& object,
                               const Shape& shape) {
    return object.is_none() ? nullptr : contiguous<T>(name, object, shape);
  }
  template <class T>
  T* optional_out_contiguous(const ArrayName& name, const py::object& object, const Shape& shape) {
    return object.is_none() ? nullptr : out_contiguous<T>(name, object, shape);
  }

  // (N,), copied: another thread may change the array after the numbers are checked.
  std::vector<Index> integers(const ArrayName& name, const py::object& object, Index count) {
    const Index* const given = contiguous<Index>(name, object, {count});
    return {given, given + count};
  }

  // numpy's booleans, as bytes: an array viewed as bool may hold others than 0 and 1.
  const std::uint8_t* optional_flags(const ArrayName& name, const py::object& object,
                                     const Shape& shape) {
    return reinterpret_cast<const std::uint8_t*>(optional_contiguous<bool>(name, object, shape));
  }

  // Weak references to what owns each array's memory. Done where the arrays together are large; of
  // small ones a call is over in about the time that it takes.
  void pin();

  // ValueError if an output shares memory with another array of the call.
  void no_overlap() const;

 private:
  struct Checked {
    void* data;
    Shape shape;
    Shape stride;  // in elements; natural where a dimension has fewer than two entries
  };
  struct Span {
    ArrayName name;
    const std::byte *begin, *end;
    bool output;
    PyObject* array;
  };

  Checked check(const ArrayName& name, const py::object& object, const Shape& shape,
                const py::dtype& dtype, bool output);
  static void* contiguous_of(const ArrayName& name, const Checked& array);

  template <class T>
  static Matrix<T> matrix_of(const Checked& a) {
    return {static_cast<T*>(a.data), a.shape[0], a.shape[1], a.stride[0]};
  }
  template <class T>
  static Sequence<T> sequence_of(const Checked& a) {
    return {static_cast<T*>(a.data), a.shape[0], a.shape[1], a.shape[2], a.stride[0], a.stride[1]};
  }

  static constexpr Index large = 1 << 16;  // bytes

  std::vector<Span> spans_;
  std::vector<py::object> pins_;  // of the first spans
  Index bytes_ = 0;               // of all, each counted up to `large`
};

// ValueError unless all are in [0, most].
void expect_up_to(Index most, const ArrayName& name, const std::vector<Index>& values);

// ValueError unless `rate` is a probability in [0, 1).
void check_rate(const char* name, double rate);

// An int in [0, most]; TypeError or ValueError.
std::uint64_t unsigned_of(const char* name, const py::object& object, std::uint64_t most);

// What masks follow from.
inline std::uint64_t seed_of(const py::object& seed) {
  return unsigned_of("seed", seed, ~std::uint64_t{0});
}
inline std::uint32_t purpose_of(const py::object& purpose) {
  return static_cast<std::uint32_t>(unsigned_of("purpose", purpose, ~std::uint32_t{0}));
}

// Size of dimension `axis`; TypeError or ValueError when `object` is no array of that rank.
Index dimension(const ArrayName& name, const py::object& object, int rank, int axis);

}  // namespace rnncore
