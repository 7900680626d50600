// The GRU (Cho et al. 2014) with the reset gate after the recurrent product, as in torch and cuDNN:
//   r, u = sigma(z_r, z_u);  n = tanh(n_x + r n_h);  h = (1 - u) n + u h_prev
// The candidate keeps its x-part n_x and its recurrent part n_h apart: wiring "bbxh". (u is torch's
// gate "z"; z names the pre-activations here.)
#pragma once

#include "cells/cell.hpp"

namespace rnncore {

struct Gru {
  static constexpr std::string_view name = "gru", gates = "rzn", wiring = "bbxh";
  static constexpr bool has_c = false;

  template <class V>
  static void forward(V (&z)[4], V h_prev, V, V& h, V&) {
    auto& [r, u, n, n_h] = z;
    r = logistic(r);
    u = logistic(u);
    n = tanh(madd(r, n_h, n));
    h = madd(u, h_prev - n, n);
  }

  template <class V>
  static void backward(V (&z)[4], V h_prev, V, V, V dh, V&, V& dh_prev) {
    auto& [r, u, n, n_h] = z;
    const V dhn = dh - dh * u;         // dL/dn
    const V dn_x = dhn - dhn * n * n;  // dL/d(n_x + r n_h)
    dh_prev = dh * u;
    u = dh * (h_prev - n) * (u - u * u);
    n = dn_x;
    const V dr = dn_x * n_h;
    n_h = dn_x * r;
    r = dr * (r - r * r);
  }
};

}  // namespace rnncore
