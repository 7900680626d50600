// The GRU as Cho et al. (2014) published it, with the reset gate before the recurrent product:
//   r, u = f(z_r, z_u);  q = r h_prev;  n = g(n_x + R_n q);  h = (1 - u) n + u h_prev
// where f is the logistic function and g is tanh, or what was chosen. ONNX's linear_before_reset
// = 0, Keras' reset_after = False. (u is torch's gate "z"; z names the pre-activations here.)
#pragma once

#include "cells/cell.hpp"
#include "cells/functions.hpp"

namespace rnncore {

template <class Functions = Fixed<Logistic, Tanh>>
struct GruResetBefore {
  static constexpr std::string_view name = "gru_reset_before", gates = "rzn", wiring = "bbq",
                                    states = "h";
  static constexpr std::array functions = {Function::sigmoid, Function::tanh};

  template <class V>
  static void forward_reset(CellReset<GruResetBefore, V>& at) {
    const Functions phi(at.choice);
    V &r = at.z[0], &u = at.z[1];
    r = phi.f.keep(r);
    u = phi.f.keep(u);
    at.q = phi.f.value(r) * at.h;
  }

  template <class V>
  static void forward_gates(CellForward<GruResetBefore, V>& at) {
    const Functions phi(at.choice);
    at.z[2] = phi.g.keep(at.z[2]);
  }

  template <class V>
  static void forward_states(CellForward<GruResetBefore, V>& at) {
    const Functions phi(at.choice);
    const V u = phi.f.value(at.z[1]), n = phi.g.value(at.z[2]), h_prev = at.before[0];
    at.after[0] = madd(u, h_prev - n, n);
  }

  template <class V>
  static void backward(CellBackward<GruResetBefore, V>& at) {
    const Functions phi(at.choice);
    V &z_u = at.z[1], &z_n = at.z[2];
    const V u = phi.f.value(z_u), n = phi.g.value(z_n);
    const V h_prev = at.before[0], dh = at.d[0];
    at.d[0] = dh * u;
    z_u = phi.f.gradient(dh * (h_prev - n), z_u, u);
    z_n = phi.g.gradient(dh - dh * u, z_n, n);
  }

  template <class V>
  static void backward_reset(CellResetBackward<GruResetBefore, V>& at) {
    const Functions phi(at.choice);
    V& z_r = at.z[0];
    const V r = phi.f.value(z_r), dq = at.d;
    at.q = r * at.h;
    at.d = dq * r;
    z_r = phi.f.gradient(dq * at.h, z_r, r);
  }
};

}  // namespace rnncore
