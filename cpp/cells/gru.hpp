// The GRU (Cho et al. 2014) with the reset gate after the recurrent product, as in torch and cuDNN:
//   r, u = sigma(z_r, z_u);  n = tanh(n_x + r n_h);  h = (1 - u) n + u h_prev
// The candidate keeps its x-part n_x and its recurrent part n_h apart: wiring "bbxh". (u is torch's
// gate "z"; z names the pre-activations here.)
#pragma once

#include "cells/cell.hpp"

namespace rnncore {

struct Gru {
  static constexpr std::string_view name = "gru", gates = "rzn", wiring = "bbxh", states = "h";

  template <class V>
  static void forward_gates(CellForward<Gru, V>& at) {
    auto& [r, u, n, n_h] = at.z;
    r = logistic(r);
    u = logistic(u);
    n = madd(r, n_h, n);
  }

  template <class V>
  static void forward_states(CellForward<Gru, V>& at) {
    V &u = at.z[1], &n = at.z[2];
    const V h_prev = at.before[0];
    n = tanh(n);
    at.after[0] = madd(u, h_prev - n, n);
  }

  template <class V>
  static void backward(CellBackward<Gru, V>& at) {
    auto& [r, u, n, n_h] = at.z;
    const V h_prev = at.before[0], dh = at.d[0];
    const V dhn = dh - dh * u;         // dL/dn
    const V dn_x = dhn - dhn * n * n;  // dL/d(n_x + r n_h)
    at.d[0] = dh * u;
    u = dh * (h_prev - n) * (u - u * u);
    n = dn_x;
    const V dr = dn_x * n_h;
    n_h = dn_x * r;
    r = dr * (r - r * r);
  }
};

}  // namespace rnncore
