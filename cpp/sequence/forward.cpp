// Forward pass: all steps from the initial to the final state, with the tape that was asked for.
#include "cells/table.hpp"
#include "core/arena.hpp"
#include "sequence/forward_loop.hpp"
#include "sequence/segments.hpp"
#include "sequence/sequence.hpp"
#include "sequence/weight_cache.hpp"

namespace rnncore {
namespace {

template <class Cell, class T>
class Forward {
 public:
  explicit Forward(const ForwardArgs<T>& args)
      : a_(args),
        H_(args.sizes.hidden),
        BH_(checked_mul(args.sizes.batch, H_)),
        schedule_(args.sizes, args.lengths, args.reverse),
        segments_(schedule_, gradient_chunk<Cell, T>(args.sizes, schedule_), args.recompute),
        loop_(args, schedule_, args.cache != nullptr),
        partition_(loop_.costs()),
        to_{args.tape.gates != nullptr,
            0,
            args.tape.gates,
            args.tape.h,
            args.tape.c,
            BH_,
            BH_,
            args.y} {
    ArenaPlan plan, kept_panels;
    loop_.plan_panels(keeps() ? kept_panels : plan);
    loop_.plan_scratch(plan, partition_.threads());
    if (!to_.all) {
      plan.array(to_.gates, checked_mul(loop_.chunk(), Wiring<Cell>::slots * H_));
      plan.array(to_.h, 2 * BH_);
      if (Cell::has_c) plan.array(to_.c, 2 * BH_);
    }
    arena_.allocate(plan);
    if (keeps()) find_panels(kept_panels);
  }

  void run() {
    parallel(partition_.threads(), [&](const Worker& worker) { work(worker); });
    // Weights that another thread changed meanwhile would be kept under the wrong key.
    if (keeps() && !found_ && key() == panels_->key) a_.cache->keep(std::move(panels_));
  }

 private:
  // Whether the packed weights belong to the cache.
  bool keeps() const { return a_.cache != nullptr && !loop_.in_place(); }

  WeightKey key() const {
    WeightKey key;
    key.form = {sizeof(T), a_.sizes.input, a_.weight_ih.rows, H_,
                loop_.on_tiles() ? 1 + static_cast<Index>(a_.precision) : 0};
    key.read(a_.weight_ih, a_.weight_hh);
    return key;
  }

  // The panels of these weights, or new ones that the workers fill.
  void find_panels(const ArenaPlan& plan) {
    const WeightKey now = key();
    panels_ = a_.cache->find(now);
    found_ = panels_ != nullptr;
    if (found_) return panels_->memory.share(plan);
    panels_ = std::make_shared<PackedPanels>(now);
    panels_->memory.allocate(plan);
  }

  void work(const Worker& worker) {
    const Share mine = partition_.share(worker, schedule_, H_, Simd<T>::width);
    loop_.pack(worker, !found_);
    load_state(mine);
    zero_padding(schedule_, worker.share(a_.sizes.batch), a_.y);
    for (Index segment = 0; segment < segments_.count(); ++segment) {
      if (a_.recompute > 0) keep_state(mine, segment);
      loop_.run(worker, mine, partition_.splits_units(), segments_.steps(segment), to_);
    }
    store_state(mine);
  }

  void load_state(const Share& mine) {
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      std::copy_n(a_.h_0.row(b) + unit, count, to_.h + at);
      if (Cell::has_c) std::copy_n(a_.c_0.row(b) + unit, count, to_.c + at);
    });
  }

  void keep_state(const Share& mine, Index segment) {
    const Index step = segments_.steps(segment).begin;
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index at = r * H_ + unit, kept = segment * BH_ + at;
      std::copy_n(to_.h_before(step) + at, count, a_.tape.h + kept);
      if (Cell::has_c) std::copy_n(to_.c_before(step) + at, count, a_.tape.c + kept);
    });
  }

  void store_state(const Share& mine) {
    const Index last = schedule_.steps();
    mine.for_units(mine.rows, [&](Index r, Index unit, Index count) {
      const Index b = schedule_.sequence(r), at = r * H_ + unit;
      std::copy_n(to_.h_before(last) + at, count, a_.h_n.row(b) + unit);
      if (Cell::has_c) std::copy_n(to_.c_before(last) + at, count, a_.c_n.row(b) + unit);
    });
  }

  const ForwardArgs<T>& a_;
  const Index H_, BH_;
  const Schedule schedule_;
  const Segments segments_;
  ForwardLoop<Cell, T> loop_;
  const Partition partition_;
  ForwardResults<T> to_;
  Arena arena_;
  std::shared_ptr<PackedPanels> panels_;  // where the cache keeps them
  bool found_ = false;
};

}  // namespace

template <class T>
void forward(std::string_view cell, const ForwardArgs<T>& args) {
  with_cell(cell, [&](auto policy) { Forward<decltype(policy), T>(args).run(); });
}

template <class T>
Index segments(std::string_view cell, const LayerArgs<T>& args) {
  Index count = 0;
  with_cell(cell, [&](auto policy) {
    using Cell = decltype(policy);
    const Schedule schedule(args.sizes, args.lengths, args.reverse);
    const Index chunk = gradient_chunk<Cell, T>(args.sizes, schedule);
    count = Segments(schedule, chunk, args.recompute).count();
  });
  return count;
}

template void forward(std::string_view, const ForwardArgs<float>&);
template void forward(std::string_view, const ForwardArgs<double>&);
template Index segments(std::string_view, const LayerArgs<float>&);
template Index segments(std::string_view, const LayerArgs<double>&);

}  // namespace rnncore
