// The LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), no peepholes.
//   i, f, o = sigma(z_i, z_f, z_o), g = tanh(z_g);  c = f c_prev + i g;  h = o tanh(c)
#pragma once

#include "cells/cell.hpp"

namespace rnncore {

struct Lstm {
  static constexpr std::string_view name = "lstm", gates = "ifgo", wiring = "bbbb";
  static constexpr bool has_c = true;

  template <class V>
  static void forward(V (&z)[4], V, V c_prev, V& h, V& c) {
    auto& [i, f, g, o] = z;
    i = logistic(i);
    f = logistic(f);
    g = tanh(g);
    o = logistic(o);
    c = madd(f, c_prev, i * g);
    h = o * tanh(c);
  }

  template <class V>
  static void backward(V (&z)[4], V, V c_prev, V c, V dh, V& dc, V& dh_prev) {
    auto& [i, f, g, o] = z;
    const V tanh_c = tanh(c);
    const V dho = dh * o;
    dc = dc + (dho - dho * tanh_c * tanh_c);  // dL/dc
    const V do_ = dh * tanh_c, di = dc * g, df = dc * c_prev, dg = dc * i;
    dc = dc * f;  // dL/dc_prev
    i = di * (i - i * i);
    f = df * (f - f * f);
    g = dg - dg * g * g;
    o = do_ * (o - o * o);
    dh_prev = V::zero();
  }
};

}  // namespace rnncore
