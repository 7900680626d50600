// The functions of the gates as a cell meets them. Each has
//
//   keep(z)               what the tape keeps of a gate with the pre-activation z
//   value(kept)           the gate
//   gradient(d, kept, y)  dL/dz, where y = value(kept) and d = dL/dy
//
// Those here are fixed and keep the gate itself, from which the derivative follows; chosen.hpp has
// those that are chosen at run time.
#pragma once

#include "cells/choice.hpp"
#include "core/activations.hpp"

namespace rnncore {

struct KeepsGate {
  template <class V>
  static V value(V kept) {
    return kept;
  }
};

struct Logistic : KeepsGate {
  template <class V>
  static V keep(V z) {
    return logistic(z);
  }
  template <class V>
  static V gradient(V d, V, V y) {
    return d * (y - y * y);
  }
};

struct Tanh : KeepsGate {
  template <class V>
  static V keep(V z) {
    return tanh(z);
  }
  template <class V>
  static V gradient(V d, V, V y) {
    return d - d * y * y;
  }
};

struct Relu : KeepsGate {
  template <class V>
  static V keep(V z) {
    return relu(z);
  }
  template <class V>
  static V gradient(V d, V, V y) {
    return where_positive(y, d);
  }
};

// A cell's functions f, g and h, in ONNX's order, as many as it has.
template <class F, class G = F, class H = G>
struct Fixed {
  explicit Fixed(const CellChoice*) {}
  F f;
  G g;
  H h;
};

}  // namespace rnncore
