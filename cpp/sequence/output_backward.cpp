// Closed loop, backward: at every step the gradient of the fed-back values, the readout's, and the
// layers from the top down; then the merged gradients of a chunk of steps.
#include <deque>

#include "cells/table.hpp"
#include "core/arena.hpp"
#include "sequence/backward_loop.hpp"
#include "sequence/fed_gradient.hpp"
#include "sequence/gradients.hpp"
#include "sequence/readout.hpp"
#include "sequence/readout_gradients.hpp"

namespace rnncore {
namespace {

template <class Cell, class T>
class OutputBackward {
 public:
  explicit OutputBackward(const OutputBackwardArgs<T>& args)
      : a_(args),
        o_(args.output),
        layers_(args.layers),
        first_(layers_.front()),
        B_(first_.sizes.batch),
        H_(first_.sizes.hidden),
        O_(o_.outputs),
        F_(first_.sizes.fed),
        precision_(first_.precision),
        schedule_(first_.sizes, first_.lengths, first_.reverse),
        p_(WeightLayout<T>::by_columns_of(o_.weight_ho, {{0, 0}, {O_, 0}}), LoopRows{.at_once = B_},
           precision_),
        fed_(args, schedule_, recurrent_columns<Cell>(H_)) {
    sort_rows();
    Index chunk = schedule_.rows();
    for (const BackwardArgs<T>& layer : layers_) {
      chunk = std::min(chunk, gradient_chunk<Cell, T>(layer.sizes, schedule_));
      loops_.emplace_back(layer, schedule_);
      kept_.push_back({0, layer.gates, layer.h, layer.c});
    }
    for (std::size_t l = 1; l < layers_.size(); ++l) {
      const Columns columns{{x_run.slot * H_, 0}, {gates * H_, 0}};
      inputs_.emplace_back(WeightLayout<T>::by_columns_of(layers_[l].weight_ih, columns),
                           LoopRows{.at_once = B_}, precision_);
    }
    partition_.emplace(costs(), true);
    const int threads = partition_->threads();
    for (const BackwardArgs<T>& layer : layers_) {
      gradients_.emplace_back(layer, &layer == &first_ ? schedule_ : *sorted_, chunk, threads);
    }
    readout_.emplace(a_, schedule_, chunk, threads);
    chunk_ = chunk;
    arena_.allocate(plan());
  }

  void run() {
    parallel(partition_->threads(), [&](const Worker& worker) { work(worker); });
  }

 private:
  using W = Wiring<Cell>;
  static constexpr Index gates = W::gates, slots = W::slots;
  static constexpr Run x_run = W::runs('x')[0];

  // The layers above the first read h of the one below from its tape, whose rows are sorted.
  void sort_rows() {
    if (first_.lengths != nullptr) {
      for (Index r = 0; r < B_; ++r) lengths_.push_back(schedule_.length(r));
    }
    const Index* const lengths = first_.lengths != nullptr ? lengths_.data() : nullptr;
    sorted_.emplace(first_.sizes, lengths, false);
    for (std::size_t l = 1; l < layers_.size(); ++l) {
      const Index K = layers_[l - 1].state();
      layers_[l].x = {layers_[l - 1].h + B_ * K, schedule_.steps(), B_, H_, B_ * K, K};
    }
  }

  PassWork costs() const {
    const Index I = first_.sizes.input;
    PassWork all = loops_.front().costs(I + (first_.dx ? I : 0) + F_);
    for (std::size_t l = 1; l < loops_.size(); ++l) {
      const PassWork more = loops_[l].costs(H_);
      all.depth += more.depth + gates * H_;
      all.merged += more.merged;
    }
    return all;
  }

  ArenaPlan plan() {
    ArenaPlan plan;
    const int threads = partition_->threads();
    for (BackwardLoop<Cell, T>& loop : loops_) loop.plan(plan, threads);
    for (MergedGradients<Cell, T>& gradients : gradients_) gradients.plan(plan);
    each_weights([&](auto& weights) {
      weights.plan_panels(plan);
      weights.plan_scratch(plan, threads);
    });
    readout_->plan(plan);
    fed_.plan(plan);
    plan.array(da_, checked_mul(schedule_.rows(), O_));
    plan.array(dh_, B_ * H_);
    return plan;
  }

  // Calls f for the packed weights that no loop owns.
  template <class F>
  void each_weights(F&& f) {
    f(p_);
    fed_.each_weights(f);
    for (PackedWeights<T>& input : inputs_) f(input);
  }

  void work(const Worker& worker) {
    const Share mine = partition_->share(worker, schedule_, H_, Simd<T>::width);
    bool on_tiles = false;
    for (BackwardLoop<Cell, T>& loop : loops_) {
      loop.pack(worker);
      loop.load_state(mine);
      on_tiles = on_tiles || loop.on_tiles();
    }
    each_weights([&](auto& weights) {
      weights.pack(worker.share(weights.panels()));
      on_tiles = on_tiles || weights.on_tiles();
    });
    const TileScope tiles(on_tiles);
    fed_.load(mine.rows);
    if (first_.dx) zero_padding(schedule_, worker.share(B_), first_.dx);
    worker.barrier();  // all is packed
    for (Index end = schedule_.steps(); end > 0;) {
      const Index begin = schedule_.chunk_begin(end, chunk_);
      for (Index step = end; step-- > begin;) time_step(mine, step, end);
      for (std::size_t l = 0; l < loops_.size(); ++l) loops_[l].state_before(mine, begin, kept_[l]);
      worker.barrier();
      merge(worker, {begin, end});
      end = begin;
    }
    for (BackwardLoop<Cell, T>& loop : loops_) loop.store_state(mine);
    fed_.store(mine.rows);
  }

  T* da(Index step) const { return da_ + schedule_.offset(step) * O_; }

  void time_step(const Share& mine, Index step, Index end) {
    const Range rows = schedule_.active(mine.rows, step);
    for (Index r = rows.begin; r < rows.end; ++r) output_gradient(step, r);
    assign_rows(p_, mine.rank, Rows<const T>{da(step), O_}, rows, Rows<T>{dh_, H_}, H_);
    for (std::size_t l = loops_.size(); l-- > 0;) {
      loops_[l].time_step(mine, step, end, kept_[l], dh_);
      if (l > 0) {
        assign_rows(inputs_[l - 1], mine.rank, dz(l, step), rows, Rows<T>{dh_, H_}, H_);
      }
    }
    fed_.run(mine.rank, step, rows, dz(0, step), {da(step), O_});
  }

  Rows<const T> dz(std::size_t layer, Index step) const {
    return {loops_[layer].dz(step, kept_[layer]), slots * H_};
  }

  // da of one row: what the caller wants of y, and what later steps made of it.
  void output_gradient(Index step, Index r) const {
    const Index time = schedule_.time(step, r), b = schedule_.sequence(r);
    T* const to = da(step) + r * O_;
    std::copy_n(a_.dy.row(time, b), O_, to);
    const bool given = o_.given != nullptr && o_.given[time * B_ + b] != 0;
    const T* const later = fed_.of_output(step, r);
    for (Index i = 0; !given && i < O_; ++i) to[i] += later[i];
    activate_backward(o_.activation, a_.y + (step * B_ + r) * O_, to, O_);
  }

  // Called by every worker for a chunk of steps, after their time loop and a barrier.
  void merge(const Worker& worker, Range steps) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Index K = layers_[l].state();
      gradients_[l].run(worker, {steps, loops_[l].dz(steps.begin, kept_[l]),
                                 layers_[l].h + steps.begin * B_ * K});
    }
    readout_->run(worker, steps, da(steps.begin));
  }

  const OutputBackwardArgs<T>& a_;
  const OutputArgs<T>& o_;
  std::vector<BackwardArgs<T>> layers_;
  const BackwardArgs<T>& first_;
  const Index B_, H_, O_, F_;
  const Precision precision_;
  const Schedule schedule_;
  std::vector<Index> lengths_;      // of the sorted rows
  std::optional<Schedule> sorted_;  // of a tape's rows
  PackedWeights<T> p_;
  FedGradient<T> fed_;
  std::deque<PackedWeights<T>> inputs_;  // W of the layers above the first
  std::deque<BackwardLoop<Cell, T>> loops_;
  std::vector<Stretch<T>> kept_;
  std::deque<MergedGradients<Cell, T>> gradients_;
  std::optional<Partition> partition_;
  std::optional<ReadoutGradients<T>> readout_;
  Index chunk_ = 0;
  Arena arena_;
  T *da_ = nullptr, *dh_ = nullptr;
};

}  // namespace

template <class T>
void output_backward(std::string_view cell, const OutputBackwardArgs<T>& args) {
  if (args.layers.front().sizes.batch == 0) return;
  with_cell(cell, [&](auto policy) { OutputBackward<decltype(policy), T>(args).run(); });
}

template void output_backward(std::string_view, const OutputBackwardArgs<float>&);
template void output_backward(std::string_view, const OutputBackwardArgs<double>&);

}  // namespace rnncore
