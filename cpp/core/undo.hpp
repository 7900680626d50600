// What a long call adds to, copied first: where it ends early, nothing was added.
#pragma once

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"

namespace rnncore {

template <class T>
class Undo {
 public:
  Undo() { arrays_.reserve(16); }  // most calls have fewer: one allocation

  void array(const Matrix<T>& sums) {
    if (!sums) return;
    arrays_.push_back(sums);
    count_ = checked_add(count_, checked_mul(sums.rows, sums.cols));
  }
  void array(T* sums, Index count) {
    if (sums != nullptr) array({sums, 1, count, count});
  }

  // Calls add(interruptible), which adds the outer products of `rows` rows to all arrays, about. It
  // may end early where that takes long and a copy of the arrays costs little beside it.
  template <class F>
  void guard(Index rows, const F& add) const {
    constexpr double long_work = 5e7;
    constexpr Index enough_rows = 64;
    if (rows < enough_rows || static_cast<double>(rows) * static_cast<double>(count_) < long_work) {
      return add(Interruptible::no);
    }
    std::vector<T> kept;
    kept.reserve(static_cast<std::size_t>(count_));
    each_row([&](T* row, Index columns) { kept.insert(kept.end(), row, row + columns); });
    try {
      add(Interruptible::yes);
    } catch (const Interrupted&) {
      const T* from = kept.data();
      each_row([&](T* row, Index columns) {
        std::copy_n(from, columns, row);
        from += columns;
      });
      throw;
    }
  }

 private:
  template <class F>
  void each_row(const F& f) const {
    for (const Matrix<T>& array : arrays_) {
      for (Index r = 0; r < array.rows; ++r) f(array.row(r), array.cols);
    }
  }

  std::vector<Matrix<T>> arrays_;
  Index count_ = 0;
};

}  // namespace rnncore
