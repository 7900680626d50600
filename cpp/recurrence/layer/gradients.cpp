// The merged products and sums of MergedGradients.
#include "recurrence/layer/gradients.hpp"

namespace rnncore {
namespace {

// Sums of a packet of columns: 16 rows at a time, these added with compensation (Kahan), since a
// bias gradient is a plain sum of T*B terms.
template <class T>
Simd<T> column_sum(Partial<T> lanes, Matrix<const T> rows, Index column) {
  using V = Simd<T>;
  V total = V::zero(), lost = V::zero();
  for (Index begin = 0; begin < rows.rows; begin += 16) {
    V sum = V::zero();
    for (Index r = begin; r < std::min(rows.rows, begin + 16); ++r) {
      sum = sum + lanes.load(rows.row(r) + column);
    }
    sum = sum - lost;
    const V next = total + sum;
    lost = (next - total) - sum;
    total = next;
  }
  return total;
}

}  // namespace

template <class T>
MergedGradients<T>::MergedGradients(const BackwardArgs<T>& args, const Schedule& schedule,
                                    Index chunk, int threads, Matrix<const T> x)
    : a_(args),
      cell_(*args.cell),
      schedule_(schedule),
      H_(args.sizes.hidden),
      h_stride_(args.h_stride()),
      gathers_states_(schedule.ragged() || args.recurrent_mask),
      x_(x ? InputRows<T>(schedule, x) : InputRows<T>(schedule, args.x, chunk)),
      fed_(schedule, args.fed, chunk),
      dx_(schedule, args.dx, chunk),
      dfed_(schedule, args.dfed, chunk),
      threads_(threads),
      chunk_(chunk),
      products_(args.precision) {
  const Index I = a_.sizes.input, F = a_.sizes.fed, GH = cell_.gates * H_;
  for (const Index columns : {I, H_, F}) products_.fit(GH, columns, chunk_);
  for (const Index columns : {I, F}) products_.fit(chunk_, columns, GH);
}

template <class T>
void MergedGradients<T>::plan(ArenaPlan& plan) {
  products_.plan(plan, threads_);
  x_.plan(plan);
  fed_.plan(plan);
  dx_.plan(plan);
  dfed_.plan(plan);
  if (gathers_states_) plan.array(states_, checked_mul(chunk_, h_stride_));
}

template <class T>
void MergedGradients<T>::run(const Team& team, Range steps, const BackwardTape<T>& tape,
                             const ChunkRows<T>& rows) const {
  gather(team, steps, tape);
  team.run(team.threads(), [&](const Worker& worker) { products(worker, steps, tape, rows); });
  scatter(team, steps);
}

template <class T>
void MergedGradients<T>::gather(const Team& team, Range steps, const BackwardTape<T>& tape) const {
  if (!x_.gathers() && !fed_.gathers() && !gathers_states_) return;
  team.run(team.threads(), [&](const Worker& worker) {
    x_.gather(worker, steps);
    fed_.gather(worker, steps);
    if (gathers_states_) gather_states(worker, steps, tape);
  });
}

template <class T>
void MergedGradients<T>::gather_states(const Worker& worker, Range steps,
                                       const BackwardTape<T>& tape) const {
  for_steps(worker, schedule_, steps, [&](Index first, Index step, Range rows) {
    std::copy_n(tape.before(0, step) + rows.begin * h_stride_, rows.size() * h_stride_,
                states_ + first * h_stride_);
    for (Index r = 0; a_.recurrent_mask && r < rows.size(); ++r) {
      const T* const mask = a_.recurrent_mask.row(schedule_.sequence(rows.begin + r));
      T* const h = states_ + (first + r) * h_stride_;
      for (Index i = 0; i < H_; ++i) h[i] *= mask[i];
    }
  });
}

template <class T>
void MergedGradients<T>::scatter(const Team& team, Range steps) const {
  if (!dx_.scatters() && !dfed_.scatters()) return;
  team.run(team.threads(), [&](const Worker& worker) {
    dx_.scatter(worker, steps);
    dfed_.scatter(worker, dfed_steps(steps));
  });
}

template <class T>
void MergedGradients<T>::products(const Worker& worker, Range steps, const BackwardTape<T>& tape,
                                  const ChunkRows<T>& rows) const {
  const Matrix<const T> x = x_.at(steps), states = states_of(steps, tape);
  const Matrix<const T> fed =
      a_.fed ? fed_.at(steps)
             : Matrix<const T>{states.data + H_, states.rows, h_stride_ - H_, h_stride_};
  const LayerWeights<T>& to = a_.gradients;
  const Index stride = tape.gates_per_row;
  const Matrix<const T> dz{tape.gates_at(steps.begin), schedule_.count(steps), stride, stride};
  weight_gradient(worker, dz, 'x', x, to.weight_ih);
  weight_gradient(worker, dz, 'h', {states.data, states.rows, H_, h_stride_}, to.weight_hh);
  if (rows.q) weight_gradient(worker, dz, 'q', {rows.q, states.rows, H_, H_}, to.weight_hh);
  weight_gradient(worker, dz, 'r', fed, to.weight_oh);
  bias_gradient(worker, dz, 'x', to.bias_ih);
  bias_gradient(worker, dz, 'r', to.bias_hh);
  unit_gradient(worker, dz.rows, rows.dunit);
  if (a_.dx) input_gradient(worker, dz, 'x', a_.weights.weight_ih, dx_.at(steps));
  const Range wanted = dfed_steps(steps);
  if (a_.dfed && wanted.size() > 0) {
    input_gradient(worker, {dz.data, schedule_.count(wanted), stride, stride}, 'r',
                   a_.weights.weight_oh, dfed_.at(wanted));
  }
}

// h before each step of the chunk, as R met it: the tape itself unless sequences drop out or
// recurrent dropout masked it.
template <class T>
Matrix<const T> MergedGradients<T>::states_of(Range steps, const BackwardTape<T>& tape) const {
  const T* const from = gathers_states_ ? states_ : tape.before(0, steps.begin);
  return {from, schedule_.count(steps), h_stride_, h_stride_};
}

// dweights += dz^T operand, for the slots that take `part`.
template <class T>
void MergedGradients<T>::weight_gradient(const Worker& worker, Matrix<const T> dz, char part,
                                         Matrix<const T> operand, Matrix<T> dweights) const {
  if (!dweights) return;
  for (const Run& run : cell_.wiring.runs(part)) {
    product<T>(worker, Into::accumulate, Op::transpose, dz_of(dz, run), Op::none, operand,
               gate_rows(dweights, run), products_);
  }
}

// Adds the sums of dz over the rows of the chunk; parts split the units.
template <class T>
void MergedGradients<T>::bias_gradient(const Worker& worker, Matrix<const T> dz, char part,
                                       T* dbias) const {
  if (dbias == nullptr) return;
  const Range panels = worker.share(panel_count<T>(H_));
  for (const Run& run : cell_.wiring.runs(part)) {
    for (int g = 0; g < run.count; ++g) {
      add_column_sums(panels, dz_of(dz, {run.slot + g, 0, 1}), dbias + (run.gate + g) * H_);
    }
  }
}

// The same for the unit parameters, from what each row of the chunk adds.
template <class T>
void MergedGradients<T>::unit_gradient(const Worker& worker, Index rows, const T* dunit) const {
  if (dunit == nullptr) return;
  const Range panels = worker.share(panel_count<T>(H_));
  for (const Matrix<T>& to : a_.gradients.unit) {
    for (Index row = 0; row < to.rows; ++row, dunit += H_) {
      add_column_sums(panels, {dunit, rows, H_, cell_.unit_rows * H_}, to.row(row));
    }
  }
}

// to += the column sums of `rows`, in some panels of the columns.
template <class T>
void MergedGradients<T>::add_column_sums(Range panels, Matrix<const T> rows, T* to) const {
  constexpr Index width = Simd<T>::width;
  for (Index panel = panels.begin; panel < panels.end; ++panel) {
    const Index unit = panel * width;
    const Partial<T> lanes{std::min(width, H_ - unit)};
    add_packet(column_sum(lanes, rows, unit), to + unit, H_ - unit);
  }
}

// to = dz weights, of the slots that take `part`.
template <class T>
void MergedGradients<T>::input_gradient(const Worker& worker, Matrix<const T> dz, char part,
                                        Matrix<const T> weights, Matrix<T> to) const {
  Into into = Into::assign;
  for (const Run& run : cell_.wiring.runs(part)) {
    if (run.count == 0) continue;
    product<T>(worker, into, Op::none, dz_of(dz, run), Op::none, gate_rows(weights, run), to,
               products_);
    into = Into::accumulate;
  }
}

template class MergedGradients<float>;
template class MergedGradients<double>;

}  // namespace rnncore
