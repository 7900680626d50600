// The LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).
//   i, f, o = sigma(z_i, z_f, z_o), g = tanh(z_g);  c = f c_prev + i g;  h = o tanh(c)
// peephole (Gers & Schmidhuber 2000): i and f see c_prev, o sees c, each unit its own:
//   i, f = sigma(z_i + p_i c_prev, z_f + p_f c_prev), o = sigma(z_o + p_o c)
// coupled (Greff et al. 2017, "CIFG"): f = 1 - i, which has no weights and no peephole.
#pragma once

#include "cells/cell.hpp"

namespace rnncore {

template <bool peephole, bool coupled>
struct Lstm {
  static constexpr std::string_view name = peephole && coupled ? "lstm_peephole_coupled"
                                           : peephole          ? "lstm_peephole"
                                           : coupled           ? "lstm_coupled"
                                                               : "lstm";
  static constexpr std::string_view gates = coupled ? "igo" : "ifgo";
  static constexpr std::string_view wiring = coupled ? "bbb" : "bbbb", states = "hc";
  static constexpr std::array<UnitParameter, peephole ? 1 : 0> unit_parameters = [] {
    if constexpr (peephole) {
      return std::array{UnitParameter{"peephole", coupled ? "io" : "ifo"}};
    } else {
      return std::array<UnitParameter, 0>{};
    }
  }();
  static constexpr int F = 1, G = coupled ? 1 : 2, O = G + 1;             // slots; that of i is 0
  static constexpr int peep_i = 0, peep_f = 1, peep_o = coupled ? 1 : 2;  // rows of `peephole`

  template <class V>
  static void forward_gates(CellForward<Lstm, V>& at) {
    V &i = at.z[0], &g = at.z[G], &o = at.z[O];
    if constexpr (peephole) i = madd(at.unit[peep_i], at.before[1], i);
    if constexpr (peephole && !coupled) at.z[F] = madd(at.unit[peep_f], at.before[1], at.z[F]);
    i = logistic(i);
    if constexpr (!coupled) at.z[F] = logistic(at.z[F]);
    g = tanh(g);
    if constexpr (!peephole) o = logistic(o);
  }

  template <class V>
  static void forward_states(CellForward<Lstm, V>& at) {
    V &i = at.z[0], &g = at.z[G], &o = at.z[O];
    auto& [h, c] = at.after;
    const V f = coupled ? V::broadcast(1) - i : at.z[F];
    c = madd(f, at.before[1], i * g);
    if constexpr (peephole) o = logistic(madd(at.unit[peep_o], c, o));
    h = o * tanh(c);
  }

  template <class V>
  static void backward(CellBackward<Lstm, V>& at) {
    V &i = at.z[0], &g = at.z[G], &o = at.z[O];
    auto& [dh, dc] = at.d;
    const V c_prev = at.before[1], f = coupled ? V::broadcast(1) - i : at.z[F];
    const V c = madd(f, c_prev, i * g);  // as in forward; zoneout may have kept another one
    const V tanh_c = tanh(c), dho = dh * o;
    dc = dc + (dho - dho * tanh_c * tanh_c);
    o = dh * tanh_c * (o - o * o);
    if constexpr (peephole) dc = madd(o, at.unit[peep_o], dc);  // dL/dc is complete
    const V di = coupled ? dc * (g - c_prev) : dc * g, dg = dc * i;
    i = di * (i - i * i);
    if constexpr (!coupled) at.z[F] = dc * c_prev * (f - f * f);
    g = dg - dg * g * g;
    dc = dc * f;     // dL/dc_prev
    dh = V::zero();  // all of dL/dh_prev passes through R
    if constexpr (peephole) {
      dc = madd(i, at.unit[peep_i], dc);
      at.dunit[peep_i] = i * c_prev;
      if constexpr (!coupled) dc = madd(at.z[F], at.unit[peep_f], dc);
      if constexpr (!coupled) at.dunit[peep_f] = at.z[F] * c_prev;
      at.dunit[peep_o] = o * c;
    }
  }
};

}  // namespace rnncore
