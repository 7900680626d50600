// One time step: for each packet of units the products with W and R where they lie, then
// the cell.
#include "recurrence/layer/step.hpp"

#include "gemm/gemv.hpp"

namespace rnncore {
namespace {

// The sums of one slot, x-part and recurrent part in one, for the units from `unit` on.
template <class T>
void multiply_slot(const StepArgs<T>& a, int slot, Index unit, Index lanes, T* sums) {
  const Wiring& wiring = a.cell->wiring;
  const Index H = a.state_n[0].cols;
  GemvOperands<T> operands[2];
  int count = 0;
  const auto add = [&](Matrix<const T> rows, Matrix<const T> weights, int gate) {
    if (gate < 0) return;
    operands[count++] = {rows.data, rows.stride, weights.row(gate * H + unit), weights.stride,
                         weights.cols};
  };
  add(a.x, a.weights.weight_ih, wiring.gate_of(slot, 'x'));
  const bool on_q = a.q && wiring.takes(slot, 'q');
  const Matrix<const T> q{a.q.data, a.q.rows, a.q.cols, a.q.stride};
  add(on_q ? q : a.state_0[0], a.weights.weight_hh, wiring.gate_of(slot, 'r'));
  gemv(operands, count, a.x.rows, lanes, sums, a.cell->slots * Simd<T>::width);
}

// Zoneout's expectation, for the units from `unit` on.
template <class T>
void blend_states(const StepArgs<T>& a, Index unit, Index lanes) {
  for (std::size_t k = 0; k < a.cell->states.size(); ++k) {
    const T rate = static_cast<T>(a.zoneout.rates[k]);
    for (Index r = 0; rate > 0 && r < a.x.rows; ++r) {
      const T* const old = a.state_0[k].row(r) + unit;
      T* const to = a.state_n[k].row(r) + unit;
      for (Index i = 0; i < lanes; ++i) to[i] = expected_state(rate, old[i], to[i]);
    }
  }
}

// For a worker's units: the products of some slots, and the cell's half on their sums.
template <class T, class TakesSlot, class F>
void run_half(const Worker& worker, const StepArgs<T>& a, const TakesSlot& takes, const F& half) {
  constexpr Index width = Simd<T>::width;
  alignas(64) T sums[max_step_rows * Wiring::max_slots * width];
  const Index H = a.state_n[0].cols;
  const StreamArrays<T> at{.hidden = H,
                           .rows = a.x.rows,
                           .sums = sums,
                           .bias_ih = a.weights.bias_ih,
                           .bias_hh = a.weights.bias_hh,
                           .unit = a.weights.unit,
                           .before = a.state_0,
                           .after = a.state_n,
                           .choice = a.choice ? &*a.choice : nullptr,
                           .gates = a.gates,
                           .q = a.q};
  const Range mine = worker.share(H, width);
  for (Index unit = mine.begin; unit < mine.end; unit += width) {
    for (int slot = 0; slot < a.cell->wiring.slots(); ++slot) {
      if (!takes(slot)) continue;
      multiply_slot(a, slot, unit, std::min(width, H - unit), sums + slot * width);
    }
    half(at, unit);
  }
}

}  // namespace

template <class T>
void reset_step(const Worker& worker, const StepArgs<T>& a) {
  run_half(
      worker, a, [&](int slot) { return a.cell->wiring.takes(slot, 'h'); },
      a.cell->template kernels<T>(a.choice.has_value()).reset.stream);
}

template <class T>
void step(const Worker& worker, const StepArgs<T>& a) {
  const bool all = !a.cell->wiring.has_reset();
  const auto pointwise = a.cell->template kernels<T>(a.choice.has_value()).stream;
  run_half(
      worker, a, [&](int slot) { return all || a.cell->wiring.takes(slot, 'q'); },
      [&](const StreamArrays<T>& at, Index unit) {
        pointwise(at, unit);
        if (a.zoneout) blend_states(a, unit, std::min<Index>(Simd<T>::width, at.hidden - unit));
      });
}

template void reset_step(const Worker&, const StepArgs<float>&);
template void reset_step(const Worker&, const StepArgs<double>&);
template void step(const Worker&, const StepArgs<float>&);
template void step(const Worker&, const StepArgs<double>&);

}  // namespace rnncore
