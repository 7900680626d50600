// A cell's pointwise functions on whole tiles: packets are loaded, the cell is applied, and packets
// are stored. One rolled loop over rows and panels: a kernel of the product costs no second copy of
// the cell's code.
#pragma once

#include <algorithm>

#include "cells/cell.hpp"
#include "cells/lanes.hpp"
#include "cells/table.hpp"

namespace rnncore {

template <Cell C, class T>
class Pointwise {
 public:
  static constexpr CellKernels<T> kernels() { return {&forward, &backward, &stream}; }

 private:
  using V = Simd<T>;
  static constexpr Wiring wiring{C::wiring};
  static constexpr int slots = wiring.slots(), width = V::width;
  // Of a step with two products this is the half behind the second one (reset_kernels.hpp).
  static constexpr bool two_halves = wiring.has_reset();
  static constexpr int first_gate = two_halves ? wiring.count('h') : 0;  // whose sums come in
  static constexpr Index states = C::states.size(), units = unit_rows<C>();
  static_assert(C::states.size() <= max_states &&
                unit_parameters<C>().size() <= max_unit_parameters);

  // Packets that the step takes together: a panel of some rows, or some panels of a row. From one
  // to the next, pointers move by these steps.
  struct Line {
    Index row, panel, count;
    bool down;  // the rows
    const T* sums;
    Index sums_step;

    Index step(Index row_stride, Index panel_stride) const {
      return down ? row_stride : panel_stride;
    }
  };

  static void forward(const void* context, Index first, Index rows, Index panel, int panels,
                      const T* sums) {
    const auto& at = *static_cast<const ForwardArrays<T>*>(context);
    const Index hidden = at.layout->hidden, step = at.sums_step;
    if (rows == 1) return forward_row(at, {first, panel, panels, false, sums, step});
    for (Index p = panel; p < panel + panels; ++p, sums += step) {
      with_lanes<T>(hidden, p, [&](auto lanes) {
        forward_rows(lanes, at, {first, p, rows, true, sums, panels * step});
      });
    }
  }

  static void forward_row(const ForwardArrays<T>& at, const Line& line) {
    const auto packet = [&](auto lanes, Index i) {
      V z[slots];
      apply_gates(lanes, at, line, i, z);
      apply_states(lanes, at, line, i, z);
    };
    const Index whole = std::min(line.count, at.layout->hidden / width - line.panel);
    for (Index i = 0; i < whole; ++i) packet(Whole<T>{}, i);
    if (whole < line.count) packet(lanes_of<T>(at.layout->hidden, line.panel + whole), whole);
  }

  // Each half of the step runs over several packets: the operations on one packet wait for each
  // other, those on several do not. (Of one slot there is little that waits.)
  template <class Lanes>
  static void forward_rows(Lanes lanes, const ForwardArrays<T>& at, const Line& line) {
    constexpr Index together = slots > 1 ? 8 : 1;
    V z[together][slots];
    for (Index begin = 0; begin < line.count; begin += together) {
      const Index end = together > 1 ? std::min(line.count, begin + together) : begin + 1;
      for (Index i = begin; i < end; ++i) apply_gates(lanes, at, line, i, z[i - begin]);
      for (Index i = begin; i < end; ++i) apply_states(lanes, at, line, i, z[i - begin]);
    }
  }

  // The pre-activations of packet i, and the gates that follow from them.
  template <class Lanes>
  [[gnu::always_inline]] static void apply_gates(Lanes lanes, const ForwardArrays<T>& at,
                                                 const Line& line, Index i, V* z) {
    const StepLayout<T>& layout = *at.layout;
    const Index hidden = layout.hidden;
    const T* const bias =
        layout.bias + line.panel * slots * width + i * line.step(0, slots * width);
    const T* const x = at.z + line.row * slots * hidden + line.panel * width +
                       i * line.step(slots * hidden, width);
    const T* const sums = line.sums + i * line.sums_step;
    CellForward<C, V> cell;
    cell.choice = layout.choice;
    for (int s = 0; s < slots; ++s) {
      if (two_halves && wiring.takes(s, 'h')) {  // the first half left a gate there
        cell.z[s] = lanes.load(x + s * hidden);
        continue;
      }
      cell.z[s] = V::load(bias + s * width);
      if (wiring.takes(s, 'x') || layout.whole_z)
        cell.z[s] = cell.z[s] + lanes.load(x + s * hidden);
      if (wiring.takes(s, 'r')) {
        cell.z[s] = cell.z[s] + V::load(sums + (wiring.gate_of(s, 'r') - first_gate) * width);
      }
    }
    if constexpr (units > 0) load_states(lanes, at, line, i, cell);
    C::forward_gates(cell);
    for (int s = 0; s < slots; ++s) z[s] = cell.z[s];
  }

  // Its new states.
  template <class Lanes>
  [[gnu::always_inline]] static void apply_states(Lanes lanes, const ForwardArrays<T>& at,
                                                  const Line& line, Index i, const V* z) {
    const StepLayout<T>& layout = *at.layout;
    const Index hidden = layout.hidden, unit = line.panel * width + i * line.step(0, width);
    const Index row = line.row + i * line.step(1, 0);
    CellForward<C, V> cell;
    cell.choice = layout.choice;
    for (int s = 0; s < slots; ++s) cell.z[s] = z[s];
    load_states(lanes, at, line, i, cell);
    C::forward_states(cell);
    if (at.keep_gates) {
      T* const to = at.z + row * slots * hidden + unit;
      for (int s = 0; s < slots; ++s) lanes.store(cell.z[s], to + s * hidden);
    }
    for (Index k = 0; k < states; ++k) {
      lanes.store(cell.after[k], at.after[k] + row * layout.stride[k] + unit);
    }
    if (at.y) lanes.store(cell.after[0], at.y.row(row) + unit);
  }

  template <class Lanes>
  [[gnu::always_inline]] static void load_states(Lanes lanes, const ForwardArrays<T>& at,
                                                 const Line& line, Index i,
                                                 CellForward<C, V>& cell) {
    const StepLayout<T>& layout = *at.layout;
    for (Index k = 0; k < states; ++k) {
      cell.before[k] = lanes.load(at.before[k] + line.row * layout.stride[k] + line.panel * width +
                                  i * line.step(layout.stride[k], width));
    }
    for (Index k = 0; k < units; ++k) {
      cell.unit[k] = V::load(layout.unit + line.panel * units * width +
                             i * line.step(0, units * width) + k * width);
    }
  }

  static void backward(const void* context, Index first, Index rows, Index panel, int panels,
                       const T* sums) {
    const auto& at = *static_cast<const BackwardArrays<T>*>(context);
    const StepLayout<T>& layout = *at.layout;
    for (Index r = first; r < first + rows; ++r) {
      const T* const dy = at.dy ? at.dy.row(r) : nullptr;
      for (Index p = panel; p < panel + panels; ++p, sums += at.sums_step) {
        with_lanes<T>(layout.hidden, p, [&](auto lanes) {
          backward_packet(lanes, at, r, p * width, V::load(sums), dy);
        });
      }
    }
  }

  template <class Lanes>
  [[gnu::always_inline]] static void backward_packet(Lanes lanes, const BackwardArrays<T>& at,
                                                     Index r, Index unit, V dh, const T* dy) {
    const StepLayout<T>& layout = *at.layout;
    T* const row = at.gates + r * slots * layout.hidden + unit;
    const Index d = r * layout.hidden + unit;
    CellBackward<C, V> cell;
    cell.choice = layout.choice;
    for (int s = 0; s < slots; ++s) cell.z[s] = lanes.load(row + s * layout.hidden);
    dh = dh + lanes.load(at.d[0] + d);
    if (dy != nullptr) dh = dh + lanes.load(dy + unit);
    cell.d[0] = dh;
    for (Index k = 1; k < states; ++k) cell.d[k] = lanes.load(at.d[k] + d);
    for (Index k = 0; k < states; ++k) {
      cell.before[k] = lanes.load(at.before[k] + r * layout.stride[k] + unit);
    }
    for (Index k = 0; k < units; ++k) {
      cell.unit[k] = V::load(layout.unit + (unit * units + k * width));
    }
    C::backward(cell);
    for (int s = 0; s < slots; ++s) lanes.store(cell.z[s], row + s * layout.hidden);
    for (Index k = 0; k < states; ++k) lanes.store(cell.d[k], at.d[k] + d);
    for (Index k = 0; k < units; ++k) {
      lanes.store(cell.dunit[k], at.dunit + (r * units + k) * layout.hidden + unit);
    }
  }

  // The units from `unit` on: z = sums + b_ih + b_hh, then the cell.
  static void stream(const StreamArrays<T>& at, Index unit) {
    const Partial<T> lanes{std::min<Index>(width, at.hidden - unit)};
    for (Index r = 0; r < at.rows; ++r) {
      CellForward<C, V> cell;
      cell.choice = at.choice;
      for (int s = 0; s < slots; ++s) {
        if (two_halves && wiring.takes(s, 'h')) {
          cell.z[s] = lanes.load(at.gates.row(r) + s * at.hidden + unit);
          continue;
        }
        const int x = wiring.gate_of(s, 'x'), h = wiring.gate_of(s, 'r');
        V z = V::load(at.sums + (r * slots + s) * width);
        if (x >= 0 && at.bias_ih != nullptr) z = z + lanes.load(at.bias_ih + x * at.hidden + unit);
        if (h >= 0 && at.bias_hh != nullptr) z = z + lanes.load(at.bias_hh + h * at.hidden + unit);
        cell.z[s] = z;
      }
      for (Index k = 0; k < states; ++k) cell.before[k] = lanes.load(at.before[k].row(r) + unit);
      load_unit_parameters(lanes, at, unit, cell.unit);
      C::forward_gates(cell);
      C::forward_states(cell);
      for (Index k = 0; k < states; ++k) lanes.store(cell.after[k], at.after[k].row(r) + unit);
    }
  }

  static void load_unit_parameters(Partial<T> lanes, const StreamArrays<T>& at, Index unit, V* to) {
    for (std::size_t p = 0; p < unit_parameters<C>().size(); ++p) {
      for (Index row = 0; row < at.unit[p].rows; ++row) {
        *to++ = lanes.load(at.unit[p].row(row) + unit);
      }
    }
  }
};

}  // namespace rnncore
