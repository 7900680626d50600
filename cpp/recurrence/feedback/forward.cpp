// Closed loop, forward: at every step the layers from the input up, the readout, and what it feeds
// back to the next steps. Parts split the batch, and need nothing of each other in a chunk of
// steps.
#include <deque>

#include "core/arena.hpp"
#include "recurrence/feedback/readout.hpp"
#include "recurrence/layer/forward_loop.hpp"

namespace rnncore {
namespace {

template <class T>
class ClosedLoopForward {
 public:
  explicit ClosedLoopForward(const ClosedLoopForwardArgs<T>& args)
      : a_(args),
        f_(args.feedback),
        first_(args.layers.front()),
        cell_(*first_.cell),
        schedule_(first_.sizes, first_.pieces, first_.reverse),
        H_(first_.sizes.hidden),
        O_(f_.outputs),
        R_(schedule_.rows()),
        fed_rows_{schedule_, f_.longest_delay},
        loop_(first_, schedule_),
        rows_{.at_once = R_,
              .total = schedule_.valid_steps(),
              .batch_invariant = first_.batch_invariant},
        readout_(f_, rows_, first_.precision) {
    for (const ForwardArgs<T>& layer : args.layers) {
      tapes_.push_back({.schedule = &schedule_,
                        .every_step = layer.tape.gates != nullptr,
                        .gates = layer.tape.gates,
                        .states = layer.tape.states,
                        .stride = layer.state_strides(),
                        .gates_per_row = layer.gates_per_row()});
      if (&layer == &first_) continue;
      steps_.emplace_back(layer, schedule_, R_);
      inputs_.emplace_back(WeightLayout<T>::by_rows_of(layer.weights.weight_ih), rows_,
                           layer.precision);
    }
    partition_.emplace(costs(), true);
    arena_.allocate(plan());
  }

  void run() {
    parallel(partition_->threads(), [&](const Team& team) { work(team); });
  }

 private:
  PassWork costs() const {
    PassWork all = loop_.costs();
    for (const ForwardStep<T>& step : steps_) all.depth += step.costs(0).depth + cell_.gates * H_;
    return all;
  }

  ArenaPlan plan() {
    ArenaPlan plan;
    const int threads = partition_->threads();
    loop_.plan_panels(plan);
    loop_.plan_scratch(plan, threads);
    readout_.plan(plan, threads);
    for (ForwardStep<T>& step : steps_) {
      step.plan_panels(plan);
      step.plan_scratch(plan, threads);
    }
    for (PackedWeights<T>& input : inputs_) {
      input.plan_panels(plan);
      input.plan_scratch(plan, threads);
    }
    y_ = a_.tape.y;
    fed_ = a_.tape.fed;
    if (tapes_.front().every_step) return plan;
    plan.array(y_, checked_mul(R_, O_));
    plan.array(fed_, checked_mul(fed_rows_.count(), O_));
    plan.array(tapes_.front().gates, checked_mul(loop_.chunk(), first_.gates_per_row()));
    plan.array(z_, checked_mul(R_, first_.gates_per_row()));
    for (TapeView<T>& tape : tapes_) {
      for (std::size_t k = 0; k < cell_.states.size(); ++k) {
        plan.array(tape.states[k], checked_mul(2 * R_, tape.stride[k]));
      }
    }
    return plan;
  }

  void work(const Team& team) {
    run_shares(team, [&](const Worker& worker, const Share& mine) {
      pack(worker);
      load_state(mine.rows);
      zero_padding(schedule_, mine.rows, a_.y);
    });
    loop_.run(team, *partition_, {0, schedule_.steps()}, tapes_.front(),
              [&, tiles = on_tiles()](const Share& mine, Index step, T* z) {
                const TileScope scope(tiles);
                time_step(mine, step, z);
              });
    run_shares(team, [&](const Worker&, const Share& mine) { store_state(mine.rows); });
  }

  // A run of the partition's parts.
  template <class F>
  void run_shares(const Team& team, const F& f) const {
    team.run(partition_->parts(), [&](const Worker& worker) {
      f(worker, partition_->share(worker, schedule_, H_, Simd<T>::width));
    });
  }

  // A worker's share of all weights.
  void pack(const Worker& worker) {
    loop_.pack_panels(worker);
    loop_.pack_units(worker);
    readout_.pack(worker);
    for (ForwardStep<T>& step : steps_) {
      step.pack_panels(worker);
      step.pack_units(worker);
    }
    for (PackedWeights<T>& input : inputs_) input.pack(worker.share(input.panels()));
  }

  // Whether any of the weights are the tile unit's.
  bool on_tiles() const {
    const auto of = [](const auto& weights) { return weights.on_tiles(); };
    return of(loop_) || of(readout_) || std::any_of(steps_.begin(), steps_.end(), of) ||
           std::any_of(inputs_.begin(), inputs_.end(), of);
  }

  // v at `slot` - longest_delay.
  T* fed(Index slot, Index r) const { return fed_ + fed_rows_.at(slot, r) * O_; }

  // `columns` of a layer's rows [h | f] before `step`.
  Matrix<T> h_rows(std::size_t layer, Index step, Index columns) const {
    return {tapes_[layer].before(0, step), R_, columns, a_.layers[layer].h_stride()};
  }
  // f of the first layer's.
  Matrix<T> f_rows(Index step) const {
    const Index stride = first_.h_stride();
    return {tapes_.front().before(0, step) + H_, R_, stride - H_, stride};
  }

  void time_step(const Share& mine, Index step, T* z) {
    const Range rows = schedule_.active(mine.rows, step);
    gather_feedback(rows, step);
    loop_.time_step(mine, step, z, tapes_.front());
    for (std::size_t i = 0; i < steps_.size(); ++i) upper_layer(mine, rows, i + 1, step);
    const Index kept = tapes_.front().every_step ? schedule_.offset(step) : 0;
    const Matrix<T> y{y_ + kept * O_, R_, O_, O_};
    readout_.run(mine.thread, rows, read(h_rows(tapes_.size() - 1, step + 1, H_)),
                 read(f_rows(step)), y);
    for (Index r = rows.begin; r < rows.end; ++r) emit(step, r, y.row(r));
  }

  static Matrix<const T> read(const Matrix<T>& m) { return {m.data, m.rows, m.cols, m.stride}; }

  // A layer above the first: W on h of the layer below, which no chunk merges, then its step.
  void upper_layer(const Share& mine, Range rows, std::size_t layer, Index step) {
    const TapeView<T>& tape = tapes_[layer];
    const Index stride = tape.gates_per_row;
    T* const z = tape.every_step ? tape.gates_at(step) : z_;
    const Matrix<T> x_part{z + cell_.wiring.runs('x')[0].slot * H_, R_, cell_.gates * H_, stride};
    assign_rows(inputs_[layer - 1], mine.thread, read(h_rows(layer - 1, step + 1, H_)), rows,
                x_part);
    steps_[layer - 1].run(mine, step, z, tape);
  }

  // f of the step behind h of the first layer.
  void gather_feedback(Range rows, Index step) const {
    const Matrix<T> f = f_rows(step);
    for (Index r = rows.begin; r < rows.end; ++r) {
      T* to = f.row(r);
      for (const Index delay : f_.delays) {
        to = std::copy_n(fed(f_.longest_delay + step - delay, r), O_, to);
      }
    }
  }

  // The outputs of one row: to the caller, and to what feeds back.
  void emit(Index step, Index r, const T* y) const {
    const Index time = schedule_.time(step, r), b = schedule_.sequence(r);
    std::copy_n(y, O_, a_.y.row(time, b));
    const bool target = f_.feeds_target(time, first_.sizes.batch, b);
    std::copy_n(target ? f_.targets.row(time, b) : y, O_, fed(f_.longest_delay + step, r));
  }

  void load_state(Range rows) const {
    for (Index r = rows.begin; r < rows.end; ++r) {
      const Index b = schedule_.sequence(r);
      const auto load = [&](const T* given, Index count, T* to) {
        schedule_.anew(r) ? std::fill_n(to, count, T(0)) : std::copy_n(given, count, to);
      };
      for_states([&](std::size_t l, std::size_t k) {
        load(a_.layers[l].state_0[k].row(b), H_, tapes_[l].states[k] + r * tapes_[l].stride[k]);
      });
      for (Index i = 0; i < f_.longest_delay; ++i) load(a_.y_0.row(i, b), O_, fed(i, r));
    }
  }

  void store_state(Range rows) const {
    for (Index r = rows.begin; r < rows.end; ++r) {
      if (!schedule_.last(r)) continue;
      const Index b = schedule_.sequence(r), end = schedule_.length(r);
      for_states([&](std::size_t l, std::size_t k) {
        std::copy_n(tapes_[l].before(k, end) + r * tapes_[l].stride[k], H_,
                    a_.layers[l].state_n[k].row(b));
      });
      for (Index i = 0; i < f_.longest_delay; ++i) {
        std::copy_n(fed(end + i, r), O_, a_.y_n.row(i, b));
      }
    }
  }

  // Calls f(layer, k) for each state of each layer.
  template <class F>
  void for_states(F&& f) const {
    for (std::size_t l = 0; l < tapes_.size(); ++l) {
      for (std::size_t k = 0; k < cell_.states.size(); ++k) f(l, k);
    }
  }

  const ClosedLoopForwardArgs<T>& a_;
  const FeedbackArgs<T>& f_;
  const ForwardArgs<T>& first_;
  const CellInfo& cell_;
  const Schedule schedule_;
  const Index H_, O_, R_;
  const FedRows fed_rows_;
  ForwardLoop<T> loop_;                  // of the first layer
  std::deque<ForwardStep<T>> steps_;     // of those above
  std::deque<PackedWeights<T>> inputs_;  // their W
  std::vector<TapeView<T>> tapes_;       // of all layers
  const LoopRows rows_;
  Readout<T> readout_;
  std::optional<Partition> partition_;
  Arena arena_;
  T *y_ = nullptr, *fed_ = nullptr, *z_ = nullptr;
};

}  // namespace

template <class T>
void closed_loop_forward(const ClosedLoopForwardArgs<T>& args) {
  if (args.layers.front().sizes.batch == 0) return;
  ClosedLoopForward<T>(args).run();
}

template void closed_loop_forward(const ClosedLoopForwardArgs<float>&);
template void closed_loop_forward(const ClosedLoopForwardArgs<double>&);

}  // namespace rnncore
