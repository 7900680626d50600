// One time step: for each packet of units the products with W and R where they lie, then
// the cell.
#include "sequence/step.hpp"

#include "cells/table.hpp"
#include "gemm/gemv.hpp"

namespace rnncore {
namespace {

template <class Cell, class T>
class Step {
 public:
  explicit Step(const StepArgs<T>& args) : a_(args), H_(args.h.cols) {}

  void run(const Worker& worker) {
    const Range mine = worker.share(H_, width);
    for (Index unit = mine.begin; unit < mine.end; unit += width) {
      const Partial<T> lanes{std::min<Index>(width, H_ - unit)};
      for (int slot = 0; slot < slots; ++slot) multiply(slot, unit, lanes.count);
      for (Index r = 0; r < a_.x.rows; ++r) pointwise(lanes, r, unit);
    }
  }

 private:
  using W = Wiring<Cell>;
  using V = Simd<T>;
  static constexpr int slots = W::slots, width = V::width;

  // The parts of a slot in one sum.
  void multiply(int slot, Index unit, Index lanes) {
    GemvOperands<T> operands[2];
    int count = 0;
    const auto add = [&](Matrix<const T> rows, Matrix<const T> weights, int gate) {
      if (gate < 0) return;
      operands[count++] = {rows.data, rows.stride, weights.row(gate * H_ + unit), weights.stride,
                           weights.cols};
    };
    add(a_.x, a_.weight_ih, W::gate_of(slot, 'x'));
    add(a_.h_prev, a_.weight_hh, W::gate_of(slot, 'h'));
    gemv(operands, count, a_.x.rows, lanes, z_ + slot * width, Index{slots * width});
  }

  void pointwise(Partial<T> lanes, Index r, Index unit) {
    V z[slots];
    for (int s = 0; s < slots; ++s) {
      const int x = W::gate_of(s, 'x'), h = W::gate_of(s, 'h');
      V sum = V::load(z_ + (r * slots + s) * width);
      if (x >= 0 && a_.bias_ih != nullptr) sum = sum + lanes.load(a_.bias_ih + x * H_ + unit);
      if (h >= 0 && a_.bias_hh != nullptr) sum = sum + lanes.load(a_.bias_hh + h * H_ + unit);
      z[s] = sum;
    }
    V h, c = V::zero(), c_prev = V::zero();
    if constexpr (Cell::has_c) c_prev = lanes.load(a_.c_prev.row(r) + unit);
    Cell::forward(z, lanes.load(a_.h_prev.row(r) + unit), c_prev, h, c);
    lanes.store(h, a_.h.row(r) + unit);
    if constexpr (Cell::has_c) lanes.store(c, a_.c.row(r) + unit);
  }

  const StepArgs<T>& a_;
  const Index H_;
  alignas(64) T z_[max_step_rows * slots * width];
};

template <class Cell, class T>
void step(const Worker& worker, const StepArgs<T>& args) {
  Step<Cell, T>(args).run(worker);
}

}  // namespace

template <class T>
StepKernel<T> step_kernel(std::string_view cell) {
  StepKernel<T> kernel = nullptr;
  with_cell(cell, [&](auto policy) { kernel = &step<decltype(policy), T>; });
  return kernel;
}

template StepKernel<float> step_kernel<float>(std::string_view);
template StepKernel<double> step_kernel<double>(std::string_view);

}  // namespace rnncore
