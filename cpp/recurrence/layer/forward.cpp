// Forward pass: all steps from the initial to the final state, with the tape that was asked for.
#include "core/arena.hpp"
#include "recurrence/layer/forward_loop.hpp"
#include "recurrence/layer/gradients.hpp"
#include "recurrence/layer/weight_cache.hpp"
#include "recurrence/plan/segments.hpp"

namespace rnncore {
namespace {

template <class T>
class Forward {
 public:
  explicit Forward(const ForwardArgs<T>& args)
      : a_(args),
        H_(args.sizes.hidden),
        states_(args.cell->states.size()),
        schedule_(args.sizes, args.pieces, args.reverse),
        segments_(schedule_, gradient_chunk(args, schedule_), args.recompute),
        loop_(args, schedule_, args.y, args.cache != nullptr),
        partition_(loop_.costs()),
        tape_{.schedule = &schedule_,
              .every_step = args.tape.gates != nullptr,
              .gates = args.tape.gates,
              .states = args.tape.states,
              .stride = args.state_strides(),
              .gates_per_row = args.gates_per_row()} {
    ArenaPlan plan, kept_panels;
    loop_.plan_panels(keeps() ? kept_panels : plan);
    loop_.plan_scratch(plan, partition_.threads());
    if (!tape_.every_step) {
      plan.array(tape_.gates, checked_mul(loop_.chunk(), tape_.gates_per_row));
      for (std::size_t k = 0; k < states_; ++k) {
        plan.array(tape_.states[k], checked_mul(2 * schedule_.rows(), tape_.stride[k]));
      }
    }
    arena_.allocate(plan);
    if (keeps()) find_panels(kept_panels);
  }

  void run() {
    parallel(partition_.threads(), [&](const Team& team) { work(team); });
    // Weights that another thread changed meanwhile would be kept under the wrong key.
    if (keeps() && !found_ && key() == panels_->key) a_.cache->keep(std::move(panels_));
  }

 private:
  // Whether the packed weights belong to the cache.
  bool keeps() const { return a_.cache != nullptr && !loop_.in_place(); }

  WeightKey key() const {
    const Matrix<const T> w = a_.weights.weight_ih;
    WeightKey key;
    key.layout = {sizeof(T),
                  a_.sizes.input,
                  w.rows,
                  H_,
                  loop_.on_tiles() ? 1 + static_cast<Index>(a_.precision) : 0,
                  a_.cell->wiring.count('h')};
    key.read(w, a_.weights.weight_hh);
    return key;
  }

  // The panels of these weights, or new ones that `prepare` fills.
  void find_panels(const ArenaPlan& plan) {
    const WeightKey now = key();
    panels_ = a_.cache->find(now);
    found_ = panels_ != nullptr;
    if (found_) return panels_->block.share(plan);
    panels_ = std::make_shared<PackedPanels>(now);
    panels_->block.allocate(plan);
  }

  void work(const Team& team) {
    run_shares(team, [&](const Worker& worker, const Share& mine) {
      if (!found_) loop_.pack_panels(worker);
      loop_.pack_units(worker);
      load_state(mine);
      zero_padding(schedule_, worker.share(schedule_.rows()), a_.y);
    });
    for (Index segment = 0; segment < segments_.count(); ++segment) {
      if (a_.recompute > 0) {
        run_shares(team, [&](const Worker&, const Share& mine) { keep_state(mine, segment); });
      }
      loop_.run(team, partition_, segments_.steps(segment), tape_);
    }
    run_shares(team, [&](const Worker&, const Share& mine) { store_state(mine); });
  }

  // A run of the partition's parts.
  template <class F>
  void run_shares(const Team& team, const F& f) const {
    team.run(partition_.parts(), [&](const Worker& worker) {
      f(worker, partition_.share(worker, schedule_, H_, Simd<T>::width));
    });
  }

  void load_state(const Share& mine) {
    for_states(mine, mine.rows, [&](std::size_t k, Index r, Index unit, Index count) {
      T* const to = tape_.states[k] + r * H_ + unit;
      if (schedule_.anew(r)) {
        std::fill_n(to, count, T(0));
      } else {
        std::copy_n(a_.state_0[k].row(schedule_.sequence(r)) + unit, count, to);
      }
    });
  }

  void keep_state(const Share& mine, Index segment) {
    const Index step = segments_.steps(segment).begin;
    const Range rows = schedule_.active(mine.rows, step);
    for_states(mine, rows, [&](std::size_t k, Index r, Index unit, Index count) {
      std::copy_n(tape_.before(k, step) + r * H_ + unit, count,
                  a_.tape.states[k] + (segments_.state_offset(segment) + r) * H_ + unit);
    });
  }

  void store_state(const Share& mine) {
    for_states(mine, mine.rows, [&](std::size_t k, Index r, Index unit, Index count) {
      if (!schedule_.last(r)) return;
      std::copy_n(tape_.before(k, schedule_.length(r)) + r * H_ + unit, count,
                  a_.state_n[k].row(schedule_.sequence(r)) + unit);
    });
  }

  // Calls f(k, row, first unit, units) for each state of some of a share's rows.
  template <class F>
  void for_states(const Share& mine, Range rows, F&& f) {
    mine.for_units(rows, [&](Index r, Index unit, Index count) {
      for (std::size_t k = 0; k < states_; ++k) f(k, r, unit, count);
    });
  }

  const ForwardArgs<T>& a_;
  const Index H_;
  const std::size_t states_;
  const Schedule schedule_;
  const Segments segments_;
  ForwardLoop<T> loop_;
  const Partition partition_;
  TapeView<T> tape_;
  Arena arena_;
  std::shared_ptr<PackedPanels> panels_;  // where the cache keeps them
  bool found_ = false;
};

}  // namespace

template <class T>
void forward(const ForwardArgs<T>& args) {
  Forward<T>(args).run();
}

template <class T>
std::vector<Index> segments(const LayerArgs<T>& args) {
  const Schedule schedule(args.sizes, args.pieces, args.reverse);
  const Segments of(schedule, gradient_chunk(args, schedule), args.recompute);
  std::vector<Index> rows;
  for (Index s = 0; s < of.count(); ++s) rows.push_back(schedule.active(of.steps(s).begin));
  return rows;
}

template void forward(const ForwardArgs<float>&);
template void forward(const ForwardArgs<double>&);
template std::vector<Index> segments(const LayerArgs<float>&);
template std::vector<Index> segments(const LayerArgs<double>&);

}  // namespace rnncore
