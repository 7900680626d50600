// The LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).
//   i, f, o = sigma(z_i, z_f, z_o), g = tanh(z_g);  c = f c_prev + i g;  h = o tanh(c)
// phi.f, phi.g and phi.h: sigma, tanh of z_g and tanh of c, or what was chosen in their place.
// peephole (Gers & Schmidhuber 2000): i and f see c_prev, o sees c, each unit its own:
//   i, f = sigma(z_i + p_i c_prev, z_f + p_f c_prev), o = sigma(z_o + p_o c)
// coupled (Greff et al. 2017, "CIFG"): f = 1 - i, which has no weights and no peephole.
#pragma once

#include "cells/cell.hpp"
#include "cells/functions.hpp"

namespace rnncore {

template <bool peephole, bool coupled, class Functions = Fixed<Logistic, Tanh>>
struct Lstm {
  static constexpr std::string_view name = peephole && coupled ? "lstm_peephole_coupled"
                                           : peephole          ? "lstm_peephole"
                                           : coupled           ? "lstm_coupled"
                                                               : "lstm";
  static constexpr std::string_view gates = coupled ? "igo" : "ifgo";
  static constexpr std::string_view wiring = coupled ? "bbb" : "bbbb", states = "hc";
  static constexpr std::array functions = {Function::sigmoid, Function::tanh, Function::tanh};
  static constexpr auto unit_parameters = only_if<peephole>({"peephole", coupled ? "io" : "ifo"});
  static constexpr int F = 1, G = coupled ? 1 : 2, O = G + 1;             // slots; that of i is 0
  static constexpr int peep_i = 0, peep_f = 1, peep_o = coupled ? 1 : 2;  // rows of `peephole`

  template <class V>
  static void forward_gates(CellForward<Lstm, V>& at) {
    const Functions phi(at.choice);
    V &i = at.z[0], &g = at.z[G], &o = at.z[O];
    if constexpr (peephole) i = madd(at.unit[peep_i], at.before[1], i);
    if constexpr (peephole && !coupled) at.z[F] = madd(at.unit[peep_f], at.before[1], at.z[F]);
    i = phi.f.keep(i);
    if constexpr (!coupled) at.z[F] = phi.f.keep(at.z[F]);
    g = phi.g.keep(g);
    if constexpr (!peephole) o = phi.f.keep(o);
  }

  template <class V>
  static void forward_states(CellForward<Lstm, V>& at) {
    const Functions phi(at.choice);
    const V i = phi.f.value(at.z[0]), g = phi.g.value(at.z[G]);
    V& o = at.z[O];
    auto& [h, c] = at.after;
    const V f = coupled ? V::broadcast(1) - i : phi.f.value(at.z[F]);
    c = madd(f, at.before[1], i * g);
    if constexpr (peephole) o = phi.f.keep(madd(at.unit[peep_o], c, o));
    h = phi.f.value(o) * phi.h.value(phi.h.keep(c));
  }

  template <class V>
  static void backward(CellBackward<Lstm, V>& at) {
    const Functions phi(at.choice);
    V &z_i = at.z[0], &z_f = at.z[coupled ? 0 : F], &z_g = at.z[G], &z_o = at.z[O];
    const V i = phi.f.value(z_i), g = phi.g.value(z_g), o = phi.f.value(z_o);
    auto& [dh, dc] = at.d;
    const V c_prev = at.before[1], f = coupled ? V::broadcast(1) - i : phi.f.value(z_f);
    const V c = madd(f, c_prev, i * g);  // as in forward; zoneout may have kept another one
    const V kept = phi.h.keep(c), h_c = phi.h.value(kept);
    dc = dc + phi.h.gradient(dh * o, kept, h_c);
    z_o = phi.f.gradient(dh * h_c, z_o, o);
    if constexpr (peephole) dc = madd(z_o, at.unit[peep_o], dc);  // dL/dc is complete
    const V di = coupled ? dc * (g - c_prev) : dc * g;
    if constexpr (!coupled) z_f = phi.f.gradient(dc * c_prev, z_f, f);
    z_i = phi.f.gradient(di, z_i, i);
    z_g = phi.g.gradient(dc * i, z_g, g);
    dc = dc * f;     // dL/dc_prev
    dh = V::zero();  // all of dL/dh_prev passes through R
    if constexpr (peephole) {
      dc = madd(z_i, at.unit[peep_i], dc);
      at.dunit[peep_i] = z_i * c_prev;
      if constexpr (!coupled) dc = madd(z_f, at.unit[peep_f], dc);
      if constexpr (!coupled) at.dunit[peep_f] = z_f * c_prev;
      at.dunit[peep_o] = z_o * c;
    }
  }
};

}  // namespace rnncore
