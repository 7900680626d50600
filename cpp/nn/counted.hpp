// What counts in a loss, and how much: loss = sum w l / sum w over what counts.
#pragma once

#include <algorithm>

#include "core/types.hpp"

namespace rnncore {

// One byte per row or element: 0 = it does not count. Null: all count.
using Mask = const std::uint8_t*;

// What does not count is never read and gets a zero gradient; where nothing counts the loss is 0.
template <class T>
struct Counted {
  Mask rows = nullptr;         // (N,)
  Mask elements = nullptr;     // (N, O), of elementwise losses alone
  const T* weights = nullptr;  // (N,), w >= 0; null: 1. A row of weight 0 does not count.

  // Weight of a row, 0 where it does not count.
  double weight(Index row) const {
    if (rows != nullptr && rows[row] == 0) return 0.0;
    return weights == nullptr ? 1.0 : static_cast<double>(weights[row]);
  }

  // Mask of a row's elements, or null.
  Mask elements_of(Index row, Index cols) const {
    return elements == nullptr ? nullptr : elements + row * cols;
  }

  // Sum of the weights of all elements that count.
  double total(Index all_rows, Index cols) const {
    double sum = 0;
    for (Index r = 0; r < all_rows; ++r) {
      const Mask mask = elements_of(r, cols);
      const Index count = mask == nullptr ? cols : cols - std::count(mask, mask + cols, 0);
      sum += weight(r) * static_cast<double>(count);
    }
    return sum;
  }
};

}  // namespace rnncore
