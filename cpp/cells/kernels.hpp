// A cell's pointwise functions on whole tiles: packets are loaded, the cell is applied, and packets
// are stored. One rolled loop over rows and panels: a kernel of the product costs no second copy of
// the cell's code.
#pragma once

#include <algorithm>

#include "cells/cell.hpp"
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
  static constexpr Index states = C::states.size(), units = unit_rows<C>();
  static_assert(C::states.size() <= max_states &&
                unit_parameters<C>().size() <= max_unit_parameters);

  // Applies f(lanes, panel) to the panels of a row; the last one may be no whole packet.
  template <class F>
  static void for_panels(Index hidden, Index panel, int panels, F&& f) {
    for (Index p = panel; p < panel + panels; ++p) {
      if ((p + 1) * width <= hidden) {
        f(Whole<T>{}, p);
      } else {
        f(Partial<T>{hidden % width}, p);
      }
    }
  }

  static void forward(const void* context, Index first, Index rows, Index panel, int panels,
                      const T* sums) {
    const auto& at = *static_cast<const ForwardArrays<T>*>(context);
    const StepLayout<T>& layout = *at.layout;
    for (Index r = first; r < first + rows; ++r) {
      T* const y = at.y ? at.y.row(r) : nullptr;
      for_panels(layout.hidden, panel, panels, [&](auto lanes, Index p) {
        forward_packet(lanes, at, r, p, sums, y);
        sums += at.sums_step;
      });
    }
  }

  // Inlined: what does not change from row to row is then read once.
  template <class Lanes>
  [[gnu::always_inline]] static void forward_packet(Lanes lanes, const ForwardArrays<T>& at, Index r, Index panel,
                             const T* sums, T* y) {
    const StepLayout<T>& layout = *at.layout;
    const Index unit = panel * width;
    T* const row = at.z + r * slots * layout.hidden + unit;
    CellForward<C, V> cell;
    for (int s = 0; s < slots; ++s) {
      V z = V::load(layout.bias + (panel * slots + s) * width);
      if (wiring.takes(s, 'x') || layout.whole_z) z = z + lanes.load(row + s * layout.hidden);
      if (wiring.takes(s, 'h')) z = z + V::load(sums + wiring.gate_of(s, 'h') * width);
      cell.z[s] = z;
    }
    for (Index k = 0; k < states; ++k) {
      cell.before[k] = lanes.load(at.before[k] + r * layout.stride[k] + unit);
    }
    for (Index k = 0; k < units; ++k) {
      cell.unit[k] = V::load(layout.unit + (panel * units + k) * width);
    }
    C::forward(cell);
    if (at.keep_gates) {
      for (int s = 0; s < slots; ++s) lanes.store(cell.z[s], row + s * layout.hidden);
    }
    for (Index k = 0; k < states; ++k) {
      lanes.store(cell.after[k], at.after[k] + r * layout.stride[k] + unit);
    }
    if (y != nullptr) lanes.store(cell.after[0], y + unit);
  }

  static void backward(const void* context, Index first, Index rows, Index panel, int panels,
                       const T* sums) {
    const auto& at = *static_cast<const BackwardArrays<T>*>(context);
    const StepLayout<T>& layout = *at.layout;
    for (Index r = first; r < first + rows; ++r) {
      const T* const dy = at.dy ? at.dy.row(r) : nullptr;
      for_panels(layout.hidden, panel, panels, [&](auto lanes, Index p) {
        backward_packet(lanes, at, r, p * width, V::load(sums), dy);
        sums += at.sums_step;
      });
    }
  }

  template <class Lanes>
  [[gnu::always_inline]] static void backward_packet(Lanes lanes, const BackwardArrays<T>& at, Index r, Index unit, V dh,
                              const T* dy) {
    const StepLayout<T>& layout = *at.layout;
    T* const row = at.gates + r * slots * layout.hidden + unit;
    const Index d = r * layout.hidden + unit;
    CellBackward<C, V> cell;
    for (int s = 0; s < slots; ++s) cell.z[s] = lanes.load(row + s * layout.hidden);
    dh = dh + lanes.load(at.d[0] + d);
    if (dy != nullptr) dh = dh + lanes.load(dy + unit);
    cell.d[0] = dh;
    for (Index k = 1; k < states; ++k) cell.d[k] = lanes.load(at.d[k] + d);
    for (Index k = 0; k < states; ++k) {
      cell.before[k] = lanes.load(at.before[k] + r * layout.stride[k] + unit);
      cell.after[k] = lanes.load(at.after[k] + r * layout.stride[k] + unit);
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
      for (int s = 0; s < slots; ++s) {
        const int x = wiring.gate_of(s, 'x'), h = wiring.gate_of(s, 'h');
        V z = V::load(at.sums + (r * slots + s) * width);
        if (x >= 0 && at.bias_ih != nullptr) z = z + lanes.load(at.bias_ih + x * at.hidden + unit);
        if (h >= 0 && at.bias_hh != nullptr) z = z + lanes.load(at.bias_hh + h * at.hidden + unit);
        cell.z[s] = z;
      }
      for (Index k = 0; k < states; ++k) cell.before[k] = lanes.load(at.before[k].row(r) + unit);
      load_unit_parameters(lanes, at, unit, cell.unit);
      C::forward(cell);
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
