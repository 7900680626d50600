// The loop of a layer alone, and the products merged over a chunk of its steps.
#include "recurrence/layer/forward_loop.hpp"

namespace rnncore {
namespace {

template <class T>
Index chunk_of(const LayerArgs<T>& args, const Schedule& schedule) {
  const Index row = checked_add(args.sizes.input, checked_mul(args.cell->slots, args.sizes.hidden));
  return std::min(schedule.valid_steps(), std::max(chunk_rows<T>(row), schedule.rows()));
}

}  // namespace

template <class T>
ForwardLoop<T>::ForwardLoop(const LayerArgs<T>& args, const Schedule& schedule, Sequence<T> y,
                            bool kept)
    : a_(args),
      schedule_(schedule),
      chunk_(chunk_of(args, schedule)),
      x_(schedule, args.x, chunk_),
      fed_(schedule, args.fed, chunk_),
      step_(args, schedule, args.fed && !args.weights.weight_hh ? chunk_ : schedule.rows(), y),
      input_(args, schedule.valid_steps(), chunk_, kept) {
  if (args.fed && args.weights.weight_hh) teacher_forcing_.emplace(args, schedule, chunk_);
}

template <class T>
void ForwardLoop<T>::plan_panels(ArenaPlan& plan) {
  step_.plan_panels(plan);
  input_.plan_panels(plan);
}

template <class T>
void ForwardLoop<T>::plan_scratch(ArenaPlan& plan, int threads) {
  step_.plan_scratch(plan, threads);
  input_.plan_scratch(plan, threads);
  if (teacher_forcing_) teacher_forcing_->plan(plan, threads);
  x_.plan(plan);
  fed_.plan(plan);
}

template <class T>
void ForwardLoop<T>::pack_panels(const Worker& worker) {
  step_.pack_panels(worker);
  input_.pack(worker);
}

template <class T>
void ForwardLoop<T>::merged_products(const Team& team, Range chunk, T* z) const {
  if (x_.gathers() || fed_.gathers()) {
    team.run(team.threads(), [&](const Worker& worker) {
      x_.gather(worker, chunk);
      fed_.gather(worker, chunk);
    });
  }
  team.run(team.threads(), [&](const Worker& worker) { input_.multiply(worker, x_.at(chunk), z); });
  if (!teacher_forcing_) return;
  team.run(team.threads(),
           [&](const Worker& worker) { teacher_forcing_->multiply(worker, fed_.at(chunk), z); });
}

template <class T>
void ForwardLoop<T>::decoupled_steps(const Team& team, Range chunk, T* z,
                                     const TapeView<T>& tape) const {
  team.run(team.threads(), [&](const Worker& worker) {
    const TileScope tiles(step_.on_tiles());
    step_.run_decoupled(worker, chunk, fed_.at(chunk), z, tape);
  });
}

template class ForwardLoop<float>;
template class ForwardLoop<double>;

}  // namespace rnncore
