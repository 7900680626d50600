// The units of a panel as lanes of a packet: of the last panel perhaps only some.
#pragma once

#include <algorithm>

#include "core/simd.hpp"

namespace rnncore {

template <class T>
Partial<T> lanes_of(Index hidden, Index panel) {
  return {std::min<Index>(Simd<T>::width, hidden - panel * Simd<T>::width)};
}

// Calls f with the lanes of a panel; those of a whole packet have a type of their own.
template <class T, class F>
void with_lanes(Index hidden, Index panel, F&& f) {
  if ((panel + 1) * Simd<T>::width <= hidden) {
    f(Whole<T>{});
  } else {
    f(lanes_of<T>(hidden, panel));
  }
}

}  // namespace rnncore
