// Strided views and checked size arithmetic: the vocabulary of every kernel.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <new>

namespace rnncore {

using Index = std::int64_t;

struct Range {
  Index begin = 0, end = 0;
  Index size() const { return end - begin; }
};

// rows x cols, unit stride along a row.
template <class T>
struct Matrix {
  T* data = nullptr;
  Index rows = 0, cols = 0;
  Index stride = 0;  // elements from one row to the next

  explicit operator bool() const { return data != nullptr; }
  T* row(Index r) const { return data + r * stride; }
};

// T x B x D (time, batch, features), unit stride along the features; time and batch strides are
// free, so that time-major and batch-major arrays are the same thing to a kernel.
template <class T>
struct Sequence {
  T* data = nullptr;
  Index steps = 0, batch = 0, features = 0;
  Index stride_t = 0, stride_b = 0;

  explicit operator bool() const { return data != nullptr; }
  T* row(Index t, Index b) const { return data + t * stride_t + b * stride_b; }
};

// Product of sizes; throws std::bad_alloc (MemoryError in Python) where it does not fit.
inline Index checked_mul(Index a, Index b) {
  Index result = 0;
  if (__builtin_mul_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

inline Index checked_add(Index a, Index b) {
  Index result = 0;
  if (__builtin_add_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

constexpr Index ceil_div(Index a, Index b) {
  return (a + b - 1) / b;
}
constexpr Index round_up(Index a, Index b) {
  return ceil_div(a, b) * b;
}

}  // namespace rnncore
