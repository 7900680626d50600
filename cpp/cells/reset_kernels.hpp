// The half of a step in front of the product of R and q, of a cell that has one, on whole tiles.
#pragma once

#include "cells/cell.hpp"
#include "cells/lanes.hpp"
#include "cells/table.hpp"

namespace rnncore {

template <Resetting C, class T>
class ResetPointwise {
 public:
  static constexpr ResetKernels<T> kernels() { return {&forward, &backward, &stream}; }

 private:
  using V = Simd<T>;
  static constexpr Wiring wiring{C::wiring};
  static constexpr int slots = wiring.slots(), width = V::width;

  static void forward(const void* context, Index first, Index rows, Index panel, int panels,
                      const T* sums) {
    const auto& at = *static_cast<const ResetArrays<T>*>(context);
    for (Index r = first; r < first + rows; ++r) {
      for (Index p = panel; p < panel + panels; ++p, sums += at.sums_step) {
        with_lanes<T>(at.layout->hidden, p,
                      [&](auto lanes) { forward_packet(lanes, at, r, p * width, sums); });
      }
    }
  }

  template <class Lanes>
  [[gnu::always_inline]] static void forward_packet(Lanes lanes, const ResetArrays<T>& at, Index r,
                                                    Index unit, const T* sums) {
    const Index hidden = at.layout->hidden;
    T* const row = at.z + r * slots * hidden + unit;
    const T* const bias = at.layout->bias + unit * slots;
    CellReset<C, V> cell;
    cell.choice = at.layout->choice;
    for (int s = 0; s < slots; ++s) {
      if (!wiring.takes(s, 'h')) continue;
      cell.z[s] = V::load(bias + s * width) + lanes.load(row + s * hidden) +
                  V::load(sums + wiring.gate_of(s, 'h') * width);
    }
    cell.h = lanes.load(at.h + r * at.h_stride + unit);
    C::forward_reset(cell);
    for (int s = 0; s < slots; ++s) {
      if (wiring.takes(s, 'h')) lanes.store(cell.z[s], row + s * hidden);
    }
    lanes.store(cell.q, at.q + r * at.q_stride + unit);
  }

  static void backward(const void* context, Index first, Index rows, Index panel, int panels,
                       const T* sums) {
    const auto& at = *static_cast<const ResetBackwardArrays<T>*>(context);
    for (Index r = first; r < first + rows; ++r) {
      const T* const mask = at.mask ? at.mask.row(r) : nullptr;
      for (Index p = panel; p < panel + panels; ++p, sums += width) {
        with_lanes<T>(at.layout->hidden, p, [&](auto lanes) {
          backward_packet(lanes, at, r, p * width, V::load(sums), mask);
        });
      }
    }
  }

  template <class Lanes>
  [[gnu::always_inline]] static void backward_packet(Lanes lanes, const ResetBackwardArrays<T>& at,
                                                     Index r, Index unit, V dq, const T* mask) {
    const Index hidden = at.layout->hidden;
    T* const row = at.gates + r * slots * hidden + unit;
    T* const dh = at.dh + r * hidden + unit;
    CellResetBackward<C, V> cell;
    cell.choice = at.layout->choice;
    for (int s = 0; s < slots; ++s) {
      if (wiring.takes(s, 'h')) cell.z[s] = lanes.load(row + s * hidden);
    }
    cell.h = lanes.load(at.h + r * at.layout->stride[0] + unit);
    if (mask != nullptr) cell.h = cell.h * lanes.load(mask + unit);
    cell.d = dq;
    C::backward_reset(cell);
    for (int s = 0; s < slots; ++s) {
      if (wiring.takes(s, 'h')) lanes.store(cell.z[s], row + s * hidden);
    }
    if (mask != nullptr) cell.d = cell.d * lanes.load(mask + unit);
    lanes.store(lanes.load(dh) + cell.d, dh);
    lanes.store(cell.q, at.q + r * hidden + unit);
  }

  // The units from `unit` on, from the sums of the slots that meet h.
  static void stream(const StreamArrays<T>& at, Index unit) {
    const Partial<T> lanes{std::min<Index>(width, at.hidden - unit)};
    for (Index r = 0; r < at.rows; ++r) {
      T* const gates = at.gates.row(r) + unit;
      CellReset<C, V> cell;
      cell.choice = at.choice;
      for (int s = 0; s < slots; ++s) {
        if (!wiring.takes(s, 'h')) continue;
        V z = V::load(at.sums + (r * slots + s) * width);
        const Index x = wiring.gate_of(s, 'x'), h = wiring.gate_of(s, 'h');
        if (x >= 0 && at.bias_ih != nullptr) z = z + lanes.load(at.bias_ih + x * at.hidden + unit);
        if (at.bias_hh != nullptr) z = z + lanes.load(at.bias_hh + h * at.hidden + unit);
        cell.z[s] = z;
      }
      cell.h = lanes.load(at.before[0].row(r) + unit);
      C::forward_reset(cell);
      for (int s = 0; s < slots; ++s) {
        if (wiring.takes(s, 'h')) lanes.store(cell.z[s], gates + s * at.hidden);
      }
      lanes.store(cell.q, at.q.row(r) + unit);
    }
  }
};

}  // namespace rnncore
