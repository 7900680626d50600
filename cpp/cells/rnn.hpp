// The basic recurrent cell (Elman 1990): h = phi(W x + R h_prev + b).
#pragma once

#include "cells/cell.hpp"

namespace rnncore {

struct RnnTanh {
  static constexpr std::string_view name = "rnn_tanh", gates = "h", wiring = "b";
  static constexpr bool has_c = false;

  template <class V>
  static void forward(V (&z)[1], V, V, V& h, V&) {
    h = z[0] = tanh(z[0]);
  }

  // dz = dh (1 - h^2)
  template <class V>
  static void backward(V (&z)[1], V, V, V, V dh, V&, V& dh_prev) {
    z[0] = dh - dh * z[0] * z[0];
    dh_prev = V::zero();
  }
};

struct RnnRelu {
  static constexpr std::string_view name = "rnn_relu", gates = "h", wiring = "b";
  static constexpr bool has_c = false;

  template <class V>
  static void forward(V (&z)[1], V, V, V& h, V&) {
    h = z[0] = relu(z[0]);
  }

  // dz = dh where h > 0
  template <class V>
  static void backward(V (&z)[1], V, V, V, V dh, V&, V& dh_prev) {
    z[0] = where_positive(z[0], dh);
    dh_prev = V::zero();
  }
};

}  // namespace rnncore
