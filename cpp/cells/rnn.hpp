// The basic recurrent cell (Elman 1990): h = phi(W x + R h_prev + b).
#pragma once

#include "cells/cell.hpp"

namespace rnncore {

struct RnnTanh {
  static constexpr std::string_view name = "rnn_tanh", gates = "h", wiring = "b", states = "h";

  template <class V>
  static void forward_gates(CellForward<RnnTanh, V>& at) {
    at.z[0] = tanh(at.z[0]);
  }

  template <class V>
  static void forward_states(CellForward<RnnTanh, V>& at) {
    at.after[0] = at.z[0];
  }

  // dz = dh (1 - h^2)
  template <class V>
  static void backward(CellBackward<RnnTanh, V>& at) {
    V& h = at.z[0];
    V& dh = at.d[0];
    h = dh - dh * h * h;
    dh = V::zero();
  }
};

struct RnnRelu {
  static constexpr std::string_view name = "rnn_relu", gates = "h", wiring = "b", states = "h";

  template <class V>
  static void forward_gates(CellForward<RnnRelu, V>& at) {
    at.z[0] = relu(at.z[0]);
  }

  template <class V>
  static void forward_states(CellForward<RnnRelu, V>& at) {
    at.after[0] = at.z[0];
  }

  // dz = dh where h > 0
  template <class V>
  static void backward(CellBackward<RnnRelu, V>& at) {
    at.z[0] = where_positive(at.z[0], at.d[0]);
    at.d[0] = V::zero();
  }
};

}  // namespace rnncore
