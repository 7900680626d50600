// Closed loop, backward: at every step the gradient of the fed-back values, the readout's, and the
// layers from the top down; then the merged gradients of a chunk of steps.
#include <deque>

#include "core/arena.hpp"
#include "recurrence/feedback/feedback_gradient.hpp"
#include "recurrence/feedback/readout_gradients.hpp"
#include "recurrence/layer/backward_loop.hpp"
#include "recurrence/layer/gradients.hpp"
#include "recurrence/layer/recurrent_columns.hpp"

namespace rnncore {
namespace {

template <class T>
class ClosedLoopBackward {
 public:
  explicit ClosedLoopBackward(const ClosedLoopBackwardArgs<T>& args)
      : a_(args),
        f_(args.feedback),
        layers_(args.layers),
        first_(layers_.front()),
        cell_(*first_.cell),
        B_(first_.sizes.batch),
        H_(first_.sizes.hidden),
        O_(f_.outputs),
        schedule_(first_.sizes, first_.pieces, first_.reverse),
        R_(schedule_.rows()),
        chunk_(chunk()),
        p_(WeightLayout<T>::by_columns_of(f_.weights.weight_ho, {{0, 0}, {O_, 0}}),
           LoopRows{.at_once = R_}, first_.precision),
        fed_(args, schedule_, recurrent_columns(cell_, H_, 'r')) {
    const Run x_run = cell_.wiring.runs('x')[0];
    for (const BackwardArgs<T>& layer : layers_) {
      loops_.emplace_back(layer, schedule_, chunk_);
      tapes_.push_back({.schedule = &schedule_,
                        .gates = layer.tape.gates,
                        .states = layer.tape.states,
                        .stride = layer.state_strides(),
                        .gates_per_row = layer.gates_per_row()});
      if (&layer == &first_) continue;
      const Columns columns{{x_run.slot * H_, 0}, {cell_.gates * H_, 0}};
      inputs_.emplace_back(WeightLayout<T>::by_columns_of(layer.weights.weight_ih, columns),
                           LoopRows{.at_once = R_}, layer.precision);
    }
    partition_.emplace(costs(), true);
    const int threads = partition_->threads();
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      gradients_.emplace_back(layers_[l], schedule_, chunk_, threads, h_below(l));
    }
    readout_.emplace(a_, schedule_, chunk_, threads);
    arena_.allocate(plan());
  }

  void run() {
    Undo<T> undo;
    for (const BackwardArgs<T>& layer : layers_) note_gradients(undo, layer);
    const ReadoutWeights<T>& to = a_.gradients;
    undo.array(to.weight_ho);
    undo.array(to.weight_oo);
    undo.array(to.bias, O_);
    undo.guard(schedule_.valid_steps(), [&](Interruptible may) {
      parallel(partition_->threads(), [&](const Team& team) { work(team); }, may);
    });
  }

 private:
  // Rows that the merged gradients of all layers take at a time.
  Index chunk() const {
    Index rows = schedule_.valid_steps();
    for (const BackwardArgs<T>& layer : layers_) {
      rows = std::min(rows, gradient_chunk(layer, schedule_));
    }
    return rows;
  }

  // What a layer above the first reads: h after each step of the one below, in its tape.
  Matrix<const T> h_below(std::size_t layer) const {
    if (layer == 0) return {};
    const TapeView<T, const T>& below = tapes_[layer - 1];
    return {below.after(0, 0), schedule_.valid_steps(), H_, below.stride[0]};
  }

  PassWork costs() const {
    const Index I = first_.sizes.input;
    PassWork all = loops_.front().costs(I + (first_.dx ? I : 0) + first_.sizes.fed);
    for (std::size_t l = 1; l < loops_.size(); ++l) {
      const PassWork more = loops_[l].costs(H_);
      all.depth += more.depth + cell_.gates * H_;
      all.merged += more.merged;
    }
    return all;
  }

  ArenaPlan plan() {
    ArenaPlan plan;
    const int threads = partition_->threads();
    for (BackwardLoop<T>& loop : loops_) loop.plan(plan, threads);
    for (MergedGradients<T>& gradients : gradients_) gradients.plan(plan);
    each_weights([&](PackedWeights<T>& weights) {
      weights.plan_panels(plan);
      weights.plan_scratch(plan, threads);
    });
    readout_->plan(plan);
    fed_.plan(plan);
    plan.array(da_, checked_mul(schedule_.valid_steps(), O_));
    plan.array(dh_, checked_mul(R_, H_));
    return plan;
  }

  // Calls f for the packed weights that no loop owns.
  template <class F>
  void each_weights(F&& f) {
    f(p_);
    fed_.each_weights(f);
    for (PackedWeights<T>& input : inputs_) f(input);
  }

  void work(const Team& team) {
    run_shares(team, [&](const Worker& worker, const Share& mine) {
      for (BackwardLoop<T>& loop : loops_) {
        loop.pack(worker);
        loop.load_state(mine);
      }
      each_weights(
          [&](PackedWeights<T>& weights) { weights.pack(worker.share(weights.panels())); });
      fed_.load(mine.rows);
      zero_padding(schedule_, worker.share(R_), first_.dx);
    });
    for (Index end = schedule_.steps(); end > 0;) {
      const Range steps{schedule_.chunk_begin(end, chunk_), end};
      run_shares(team, [&, on = on_tiles()](const Worker& worker, const Share& mine) {
        const TileScope tiles(on);
        Pace pace(worker, R_ * first_.step_work());
        for (Index step = end; step-- > steps.begin && !pace.ends();) {
          time_step(mine, step, steps);
        }
        for (std::size_t l = 0; l < loops_.size(); ++l) {
          loops_[l].state_before(mine, steps.begin, tapes_[l]);
        }
      });
      merge(team, steps);
      end = steps.begin;
    }
    team.run(partition_->parts(), [&](const Worker& worker) {
      const Range sequences = worker.share(B_);
      for (BackwardLoop<T>& loop : loops_) loop.store_state(sequences);
      fed_.store(sequences);
    });
  }

  // A run of the partition's parts.
  template <class F>
  void run_shares(const Team& team, const F& f) const {
    team.run(partition_->parts(), [&](const Worker& worker) {
      f(worker, partition_->share(worker, schedule_, H_, Simd<T>::width));
    });
  }

  // Whether any of the weights are the tile unit's.
  bool on_tiles() {
    bool any = false;
    for (const BackwardLoop<T>& loop : loops_) any = any || loop.on_tiles();
    each_weights([&](const PackedWeights<T>& weights) { any = any || weights.on_tiles(); });
    return any;
  }

  // (rows, O) of the rows at a step.
  Matrix<T> da(Index step) const { return {da_ + schedule_.offset(step) * O_, R_, O_, O_}; }

  static Matrix<const T> read(const Matrix<T>& m) { return {m.data, m.rows, m.cols, m.stride}; }

  void time_step(const Share& mine, Index step, Range chunk) {
    const Range rows = schedule_.active(mine.rows, step);
    const Matrix<T> dh{dh_, R_, H_, H_};
    for (Index r = rows.begin; r < rows.end; ++r) output_gradient(step, r);
    assign_rows(p_, mine.thread, read(da(step)), rows, dh);
    for (std::size_t l = loops_.size(); l-- > 0;) {
      loops_[l].time_step(mine, step, chunk, tapes_[l], dh_);
      if (l > 0) assign_rows(inputs_[l - 1], mine.thread, dz(l, step), rows, dh);
    }
    fed_.run(mine.thread, step, rows, dz(0, step), read(da(step)));
  }

  Matrix<const T> dz(std::size_t layer, Index step) const {
    const Index stride = tapes_[layer].gates_per_row;
    return {tapes_[layer].gates_at(step), R_, stride, stride};
  }

  // da of one row: what the caller wants of y, and what later steps made of it.
  void output_gradient(Index step, Index r) const {
    const Index time = schedule_.time(step, r), b = schedule_.sequence(r);
    T* const to = da(step).row(r);
    std::copy_n(a_.dy.row(time, b), O_, to);
    const bool target = f_.feeds_target(time, B_, b);
    const T* const later = fed_.of_output(step, r);
    for (Index i = 0; !target && i < O_; ++i) to[i] += later[i];
    activate_backward(f_.activation, a_.tape.y + (schedule_.offset(step) + r) * O_, to, O_);
  }

  // A chunk of steps, after its time loop.
  void merge(const Team& team, Range steps) const {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      gradients_[l].run(team, steps, tapes_[l], loops_[l].chunk_rows());
    }
    readout_->run(team, steps, da(steps.begin).data);
  }

  const ClosedLoopBackwardArgs<T>& a_;
  const FeedbackArgs<T>& f_;
  std::vector<BackwardArgs<T>> layers_;
  const BackwardArgs<T>& first_;
  const CellInfo& cell_;
  const Index B_, H_, O_;
  const Schedule schedule_;
  const Index R_;
  const Index chunk_;
  PackedWeights<T> p_;
  FeedbackGradient<T> fed_;
  std::deque<PackedWeights<T>> inputs_;  // W of the layers above the first
  std::deque<BackwardLoop<T>> loops_;
  std::vector<BackwardTape<T>> tapes_;
  std::deque<MergedGradients<T>> gradients_;
  std::optional<Partition> partition_;
  std::optional<ReadoutGradients<T>> readout_;
  Arena arena_;
  T *da_ = nullptr, *dh_ = nullptr;
};

}  // namespace

template <class T>
void closed_loop_backward(const ClosedLoopBackwardArgs<T>& args) {
  if (args.layers.front().sizes.batch == 0) return;
  ClosedLoopBackward<T>(args).run();
}

template void closed_loop_backward(const ClosedLoopBackwardArgs<float>&);
template void closed_loop_backward(const ClosedLoopBackwardArgs<double>&);

}  // namespace rnncore
