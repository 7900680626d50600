// What a cell is, and what follows from its wiring.
//
// A cell is a struct of constants and two pointwise functions on V = Simd<T>:
//   name, gates   its name in the API; one letter per row block of W and R, in torch's order
//   wiring        one letter per slot of the pre-activations: 'x' takes the x-part (W x + b_ih) of
//                 the next gate, 'h' the recurrent part (R h + b_hh), 'b' the sum of both
//   has_c         whether it carries a second state c
//   forward(z, h_prev, c_prev, h, c)     z: pre-activations in, what backward needs out
//   backward(z, h_prev, c_prev, c, dh, dc, dh_prev)
//                                        z: what forward left in, dz out; dc: dc in, dc_prev out;
//                                        dh_prev: the part of it that does not pass through R
#pragma once

#include <array>
#include <string_view>

#include "core/simd.hpp"

namespace rnncore {

// Consecutive slots that meet consecutive gates of W ('x') or R ('h').
struct Run {
  int slot = 0, gate = 0, count = 0;
};

template <class Cell>
struct Wiring {
  static constexpr int gates = static_cast<int>(Cell::gates.size());
  static constexpr int slots = static_cast<int>(Cell::wiring.size());

  static constexpr bool takes(int slot, char part) {
    const char wire = Cell::wiring[static_cast<std::size_t>(slot)];
    return wire == part || wire == 'b';
  }

  // The runs of slots that take `part`; unused entries have count 0.
  static constexpr std::array<Run, 2> runs(char part) {
    std::array<Run, 2> result{};
    std::size_t used = 0;
    int gate = 0;
    for (int slot = 0; slot < slots; ++slot) {
      if (!takes(slot, part)) continue;
      const bool joins = slot > 0 && takes(slot - 1, part);
      if (!joins) result[used++] = {slot, gate, 0};
      ++result[used - 1].count;
      ++gate;
    }
    return result;
  }

  // Gate whose `part` reaches `slot`, or -1.
  static constexpr int gate_of(int slot, char part) {
    int gate = -1;
    for (int s = 0; s <= slot; ++s) gate += takes(s, part) ? 1 : 0;
    return takes(slot, part) ? gate : -1;
  }
};

}  // namespace rnncore
