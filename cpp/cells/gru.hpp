// The GRU (Cho et al. 2014) with the reset gate after the recurrent product, as in torch and cuDNN:
//   r, u = f(z_r, z_u);  n = g(n_x + r n_h);  h = (1 - u) n + u h_prev
// where f is the logistic function and g is tanh, or what was chosen. The candidate keeps its
// x-part n_x and its recurrent part n_h apart: wiring "bbxh". (u is torch's gate "z"; z names the
// pre-activations here.)
#pragma once

#include "cells/cell.hpp"
#include "cells/functions.hpp"

namespace rnncore {

template <class Functions = Fixed<Logistic, Tanh>>
struct Gru {
  static constexpr std::string_view name = "gru", gates = "rzn", wiring = "bbxh", states = "h";
  static constexpr std::array functions = {Function::sigmoid, Function::tanh};

  template <class V>
  static void forward_gates(CellForward<Gru, V>& at) {
    const Functions phi(at.choice);
    auto& [r, u, n, n_h] = at.z;
    r = phi.f.keep(r);
    u = phi.f.keep(u);
    n = madd(phi.f.value(r), n_h, n);
  }

  template <class V>
  static void forward_states(CellForward<Gru, V>& at) {
    const Functions phi(at.choice);
    const V u = phi.f.value(at.z[1]), h_prev = at.before[0];
    at.z[2] = phi.g.keep(at.z[2]);
    const V n = phi.g.value(at.z[2]);
    at.after[0] = madd(u, h_prev - n, n);
  }

  template <class V>
  static void backward(CellBackward<Gru, V>& at) {
    const Functions phi(at.choice);
    auto& [z_r, z_u, z_n, n_h] = at.z;
    const V r = phi.f.value(z_r), u = phi.f.value(z_u), n = phi.g.value(z_n);
    const V h_prev = at.before[0], dh = at.d[0];
    const V dn = phi.g.gradient(dh - dh * u, z_n, n);  // dL/d(n_x + r n_h)
    at.d[0] = dh * u;
    z_u = phi.f.gradient(dh * (h_prev - n), z_u, u);
    z_n = dn;
    const V dr = dn * n_h;
    n_h = dn * r;
    z_r = phi.f.gradient(dr, z_r, r);
  }
};

}  // namespace rnncore
