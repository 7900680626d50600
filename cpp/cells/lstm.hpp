// The LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), no peepholes.
//   i, f, o = sigma(z_i, z_f, z_o), g = tanh(z_g);  c = f c_prev + i g;  h = o tanh(c)
#pragma once

#include "cells/cell.hpp"

namespace rnncore {

struct Lstm {
  static constexpr std::string_view name = "lstm", gates = "ifgo", wiring = "bbbb", states = "hc";

  template <class V>
  static void forward(CellForward<Lstm, V>& at) {
    auto& [i, f, g, o] = at.z;
    auto& [h, c] = at.after;
    const V c_prev = at.before[1];
    i = logistic(i);
    f = logistic(f);
    g = tanh(g);
    o = logistic(o);
    c = madd(f, c_prev, i * g);
    h = o * tanh(c);
  }

  template <class V>
  static void backward(CellBackward<Lstm, V>& at) {
    auto& [i, f, g, o] = at.z;
    auto& [dh, dc] = at.d;
    const V c_prev = at.before[1], c = at.after[1];
    const V tanh_c = tanh(c);
    const V dho = dh * o;
    dc = dc + (dho - dho * tanh_c * tanh_c);  // dL/dc
    const V do_ = dh * tanh_c, di = dc * g, df = dc * c_prev, dg = dc * i;
    dc = dc * f;  // dL/dc_prev
    i = di * (i - i * i);
    f = df * (f - f * f);
    g = dg - dg * g * g;
    o = do_ * (o - o * o);
    dh = V::zero();  // all of dL/dh_prev passes through R
  }
};

}  // namespace rnncore
