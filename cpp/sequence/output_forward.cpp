// Closed loop, forward: at every step the layers from the input up, the readout, and what it feeds
// back to the next steps. Workers split the batch, and never meet within a chunk of steps.
#include <deque>

#include "cells/table.hpp"
#include "core/arena.hpp"
#include "sequence/forward_loop.hpp"
#include "sequence/readout.hpp"

namespace rnncore {
namespace {

template <class Cell, class T>
class OutputForward {
 public:
  explicit OutputForward(const OutputForwardArgs<T>& args)
      : a_(args),
        o_(args.output),
        first_(args.layers.front()),
        B_(first_.sizes.batch),
        H_(first_.sizes.hidden),
        O_(o_.outputs),
        schedule_(first_.sizes, first_.lengths, first_.reverse),
        loop_(first_, schedule_),
        rows_{.at_once = B_, .total = schedule_.rows(), .batch_invariant = first_.batch_invariant},
        readout_(o_, rows_, first_.precision) {
    for (const ForwardArgs<T>& layer : args.layers) {
      const bool keep = layer.tape.gates != nullptr;
      const Index states = checked_mul(B_, layer.state());
      results_.push_back(
          {keep, 0, layer.tape.gates, layer.tape.h, layer.tape.c, states, B_ * H_, Sequence<T>{}});
      if (&layer == &first_) continue;
      steps_.emplace_back(layer, schedule_, B_);
      inputs_.emplace_back(WeightLayout<T>::by_rows_of(layer.weight_ih), rows_, layer.precision);
    }
    partition_.emplace(costs(), true);
    arena_.allocate(plan());
  }

  void run() {
    parallel(partition_->threads(), [&](const Worker& worker) { work(worker); });
  }

 private:
  static constexpr Index slots = Wiring<Cell>::slots;
  static constexpr Run x_run = Wiring<Cell>::runs('x')[0];

  PassWork costs() const {
    PassWork all = loop_.costs();
    for (const ForwardStep<Cell, T>& step : steps_) {
      all.depth += step.costs(0).depth + Wiring<Cell>::gates * H_;
    }
    return all;
  }

  ArenaPlan plan() {
    ArenaPlan plan;
    const int threads = partition_->threads();
    loop_.plan_panels(plan);
    loop_.plan_scratch(plan, threads);
    readout_.plan(plan, threads);
    for (ForwardStep<Cell, T>& step : steps_) {
      step.plan_panels(plan);
      step.plan_scratch(plan, threads);
    }
    for (PackedWeights<T>& input : inputs_) {
      input.plan_panels(plan);
      input.plan_scratch(plan, threads);
    }
    const bool keep = results_.front().all;
    y_ = a_.tape.y;
    fed_ = a_.tape.fed;
    if (keep) return plan;
    plan.array(y_, B_ * O_);
    plan.array(fed_, checked_mul(checked_add(o_.memory, schedule_.steps()), B_ * O_));
    plan.array(results_.front().gates, checked_mul(loop_.chunk(), slots * H_));
    plan.array(z_, B_ * slots * H_);
    for (ForwardResults<T>& to : results_) {
      plan.array(to.h, 2 * to.h_size);
      if (Cell::has_c) plan.array(to.c, 2 * to.c_size);
    }
    return plan;
  }

  void work(const Worker& worker) {
    const Share mine = partition_->share(worker, schedule_, H_, Simd<T>::width);
    loop_.pack(worker);
    readout_.pack(worker);
    bool on_tiles = loop_.on_tiles() || readout_.on_tiles();
    for (ForwardStep<Cell, T>& step : steps_) {
      step.pack(worker);
      on_tiles = on_tiles || step.on_tiles();
    }
    for (PackedWeights<T>& input : inputs_) {
      input.pack(worker.share(input.panels()));
      on_tiles = on_tiles || input.on_tiles();
    }
    const TileScope tiles(on_tiles);
    load_state(mine.rows);
    zero_padding(schedule_, mine.rows, a_.y);
    loop_.run(worker, {0, schedule_.steps()}, results_.front(),
              [&](Index step, T* z) { time_step(mine, step, z); });
    store_state(mine.rows);
  }

  // v at `slot` - D.
  T* fed(Index slot, Index r) const { return fed_ + (slot * B_ + r) * O_; }

  void time_step(const Share& mine, Index step, T* z) {
    const Range rows = schedule_.active(mine.rows, step);
    feed(rows, step);
    loop_.time_step(mine, step, z, results_.front());
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const ForwardResults<T>&below = results_[i], &to = results_[i + 1];
      T* const z_above = to.all ? to.gates + schedule_.offset(step) * slots * H_ : z_;
      const Rows<const T> h{below.h_before(step + 1), below.h_size / B_};
      assign_rows(inputs_[i], mine.rank, h, rows, Rows<T>{z_above + x_run.slot * H_, slots * H_},
                  Wiring<Cell>::gates * H_);
      steps_[i].run(mine, step, z_above, to);
    }
    T* const y = results_.front().all ? y_ + step * B_ * O_ : y_;
    const ForwardResults<T>&bottom = results_.front(), &top = results_.back();
    readout_.run(mine.rank, rows, {top.h_before(step + 1), top.h_size / B_},
                 {bottom.h_before(step) + H_, bottom.h_size / B_}, y);
    for (Index r = rows.begin; r < rows.end; ++r) emit(step, r, y + r * O_);
  }

  // f of the step behind h of the first layer.
  void feed(Range rows, Index step) const {
    const ForwardResults<T>& to = results_.front();
    for (Index r = rows.begin; r < rows.end; ++r) {
      T* f = to.h_before(step) + r * (to.h_size / B_) + H_;
      for (const Index delay : o_.delays) f = std::copy_n(fed(o_.memory + step - delay, r), O_, f);
    }
  }

  // The outputs of one row: to the caller, and to what feeds back.
  void emit(Index step, Index r, const T* y) const {
    const Index time = schedule_.time(step, r), b = schedule_.sequence(r);
    std::copy_n(y, O_, a_.y.row(time, b));
    const bool given = o_.given != nullptr && o_.given[time * B_ + b] != 0;
    std::copy_n(given ? o_.targets.row(time, b) : y, O_, fed(o_.memory + step, r));
  }

  void load_state(Range rows) const {
    for (Index r = rows.begin; r < rows.end; ++r) {
      const Index b = schedule_.sequence(r);
      for (std::size_t l = 0; l < results_.size(); ++l) {
        const ForwardResults<T>& to = results_[l];
        std::copy_n(a_.layers[l].h_0.row(b), H_, to.h + r * (to.h_size / B_));
        if (Cell::has_c) std::copy_n(a_.layers[l].c_0.row(b), H_, to.c + r * H_);
      }
      for (Index i = 0; i < o_.memory; ++i) std::copy_n(a_.y_0.row(i, b), O_, fed(i, r));
    }
  }

  void store_state(Range rows) const {
    const Index last = schedule_.steps();
    for (Index r = rows.begin; r < rows.end; ++r) {
      const Index b = schedule_.sequence(r), end = schedule_.length(r);
      for (std::size_t l = 0; l < results_.size(); ++l) {
        const ForwardResults<T>& to = results_[l];
        std::copy_n(to.h_before(last) + r * (to.h_size / B_), H_, a_.layers[l].h_n.row(b));
        if (Cell::has_c) std::copy_n(to.c_before(last) + r * H_, H_, a_.layers[l].c_n.row(b));
      }
      for (Index i = 0; i < o_.memory; ++i) std::copy_n(fed(end + i, r), O_, a_.y_n.row(i, b));
    }
  }

  const OutputForwardArgs<T>& a_;
  const OutputArgs<T>& o_;
  const ForwardArgs<T>& first_;
  const Index B_, H_, O_;
  const Schedule schedule_;
  ForwardLoop<Cell, T> loop_;               // of the first layer
  std::deque<ForwardStep<Cell, T>> steps_;  // of those above
  std::deque<PackedWeights<T>> inputs_;     // their W
  std::vector<ForwardResults<T>> results_;  // of all layers
  const LoopRows rows_;
  Readout<T> readout_;
  std::optional<Partition> partition_;
  Arena arena_;
  T *y_ = nullptr, *fed_ = nullptr, *z_ = nullptr;
};

}  // namespace

template <class T>
void output_forward(std::string_view cell, const OutputForwardArgs<T>& args) {
  if (args.layers.front().sizes.batch == 0) return;
  with_cell(cell, [&](auto policy) { OutputForward<decltype(policy), T>(args).run(); });
}

template void output_forward(std::string_view, const OutputForwardArgs<float>&);
template void output_forward(std::string_view, const OutputForwardArgs<double>&);

}  // namespace rnncore
