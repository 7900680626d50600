// The loop of a layer alone, and the products merged over a chunk of its steps.
#include "recurrence/layer/forward_loop.hpp"

namespace rnncore {
namespace {

template <class T>
Index chunk_of(const LayerArgs<T>& args, const Schedule& schedule) {
  const Index row = checked_add(args.sizes.input, checked_mul(args.cell->slots, args.sizes.hidden));
  return std::min(schedule.valid_steps(), std::max(chunk_rows<T>(row), args.sizes.batch));
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
      step_(args, schedule, args.fed && !args.weights.weight_hh ? chunk_ : args.sizes.batch, y),
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
void ForwardLoop<T>::run(const Worker& worker, const Share& mine, bool meet, Range steps,
                         const TapeView<T>& tape) const {
  run(worker, steps, tape, [&](Index step, T* z) {
    step_.run(mine, step, z, tape);
    if (meet) worker.barrier();
  });
}

template <class T>
Matrix<const T> ForwardLoop<T>::merged_products(const Worker& worker, Range chunk, T* z) const {
  worker.barrier();  // the last chunk's x and z are used up; before the first: all is packed
  const Matrix<const T> x = x_.at(worker, chunk), fed = fed_.at(worker, chunk);
  if (x_.gathers() || fed_.gathers()) worker.barrier();
  input_.multiply(worker, x, z);
  worker.barrier();
  if (teacher_forcing_) teacher_forcing_->multiply(worker, fed, z);
  return fed;
}

template class ForwardLoop<float>;
template class ForwardLoop<double>;

}  // namespace rnncore
