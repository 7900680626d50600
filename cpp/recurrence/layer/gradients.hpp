// What the backward pass merges over all rows once the time loop has left dz: dW, dR, dU, db, the
// gradients of unit parameters, and dx.
#pragma once

#include "core/undo.hpp"
#include "gemm/product.hpp"
#include "recurrence/layer/backward_loop.hpp"

namespace rnncore {

// Rows that the merged gradients take at a time, by their working set: x, dx, dz and h.
template <class T>
Index gradient_chunk(const LayerArgs<T>& args, const Schedule& schedule) {
  const Index slots_and_h = checked_mul(args.cell->slots + 1, args.sizes.hidden);
  const Index row = checked_add(checked_mul(args.sizes.input, 2), slots_and_h);
  return std::min(schedule.valid_steps(), std::max(chunk_rows<T>(row), schedule.rows()));
}

// What backward adds to.
template <class T>
void note_gradients(Undo<T>& undo, const BackwardArgs<T>& args) {
  const LayerWeights<T>& to = args.gradients;
  const Index size = args.cell->gates * args.sizes.hidden;
  undo.array(to.weight_ih);
  undo.array(to.weight_hh);
  undo.array(to.weight_oh);
  undo.array(to.bias_ih, size);
  undo.array(to.bias_hh, size);
  for (const Matrix<T>& unit : to.unit) undo.array(unit);
}

template <class T>
class MergedGradients {
 public:
  // `chunk`: rows at a time. `x`: (N, I) in the schedule's order, in place of the arguments' x.
  MergedGradients(const BackwardArgs<T>& args, const Schedule& schedule, Index chunk, int threads,
                  Matrix<const T> x = {});

  void plan(ArenaPlan& plan);

  // The first step of the chunk that ends before step `end`.
  Index chunk_begin(Index end) const { return schedule_.chunk_begin(end, chunk_); }

  // A chunk of steps, after its time loop, which left `rows`.
  void run(const Team& team, Range steps, const BackwardTape<T>& tape,
           const ChunkRows<T>& rows) const;

 private:
  // The columns of dz, of some rows, that meet a run of gates.
  Matrix<const T> dz_of(Matrix<const T> dz, const Run& run) const {
    return {dz.data + run.slot * H_, dz.rows, run.count * H_, dz.stride};
  }

  template <class U>
  Matrix<U> gate_rows(Matrix<U> weights, const Run& run) const {
    return {weights.row(run.gate * H_), run.count * H_, weights.cols, weights.stride};
  }

  // Of dfed's steps those among `steps`.
  Range dfed_steps(Range steps) const {
    return {steps.begin, std::max(steps.begin, std::min(steps.end, a_.dfed.steps))};
  }

  void gather(const Team& team, Range steps, const BackwardTape<T>& tape) const;
  void gather_states(const Worker& worker, Range steps, const BackwardTape<T>& tape) const;
  void scatter(const Team& team, Range steps) const;
  void products(const Worker& worker, Range steps, const BackwardTape<T>& tape,
                const ChunkRows<T>& rows) const;
  Matrix<const T> states_of(Range steps, const BackwardTape<T>& tape) const;
  void weight_gradient(const Worker& worker, Matrix<const T> dz, char part, Matrix<const T> operand,
                       Matrix<T> dweights) const;
  void bias_gradient(const Worker& worker, Matrix<const T> dz, char part, T* dbias) const;
  void unit_gradient(const Worker& worker, Index rows, const T* dunit) const;
  void add_column_sums(Range panels, Matrix<const T> rows, T* to) const;
  void input_gradient(const Worker& worker, Matrix<const T> dz, char part, Matrix<const T> weights,
                      Matrix<T> to) const;

  const BackwardArgs<T>& a_;
  const CellInfo& cell_;
  const Schedule& schedule_;
  const Index H_, h_stride_;
  const bool gathers_states_;
  InputRows<T> x_, fed_;
  OutputRows<T> dx_, dfed_;
  const int threads_;
  const Index chunk_;
  ProductPlan<T> products_;
  T* states_ = nullptr;
};

extern template class MergedGradients<float>;
extern template class MergedGradients<double>;

}  // namespace rnncore
