// The basic recurrent cell (Elman 1990): h = phi(W x + R h_prev + b).
#pragma once

#include <type_traits>

#include "cells/cell.hpp"
#include "cells/functions.hpp"

namespace rnncore {

template <class Functions>  // Fixed<Tanh>, Fixed<Relu>, Chosen
struct Rnn {
  static constexpr bool relu = std::is_same_v<Functions, Fixed<Relu>>;
  static constexpr std::string_view name = relu ? "rnn_relu" : "rnn_tanh";
  static constexpr std::string_view gates = "h", wiring = "b", states = "h";
  static constexpr std::array functions = {relu ? Function::relu : Function::tanh};

  template <class V>
  static void forward_gates(CellForward<Rnn, V>& at) {
    at.z[0] = Functions(at.choice).f.keep(at.z[0]);
  }

  template <class V>
  static void forward_states(CellForward<Rnn, V>& at) {
    at.after[0] = Functions(at.choice).f.value(at.z[0]);
  }

  template <class V>
  static void backward(CellBackward<Rnn, V>& at) {
    const Functions phi(at.choice);
    V& h = at.z[0];
    V& dh = at.d[0];
    h = phi.f.gradient(dh, h, phi.f.value(h));
    dh = V::zero();
  }
};

}  // namespace rnncore
