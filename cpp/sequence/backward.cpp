// Backward pass (BPTT): the time loop turns the gates into their gradients dz; then the merged
// gradients. Gates that forward did not keep are computed again, a segment at a time.
#include "cells/table.hpp"
#include "core/arena.hpp"
#include "sequence/backward_loop.hpp"
#include "sequence/gradients.hpp"
#include "sequence/recompute.hpp"
#include "sequence/sequence.hpp"

namespace rnncore {
namespace {

template <class Cell, class T>
class Backward {
 public:
  explicit Backward(const BackwardArgs<T>& args)
      : a_(args),
        BH_(checked_mul(args.sizes.batch, args.sizes.hidden)),
        schedule_(args.sizes, args.lengths, args.reverse),
        loop_(args, schedule_),
        segments_(schedule_, gradient_chunk<Cell, T>(args.sizes, schedule_), args.recompute),
        partition_(costs()),
        recomputation_(args, schedule_, segments_, partition_),
        gradients_(args, schedule_, gradient_chunk<Cell, T>(args.sizes, schedule_),
                   partition_.threads()) {
    ArenaPlan plan;
    loop_.plan(plan, partition_.threads());
    gradients_.plan(plan);
    if (a_.recompute > 0) recomputation_.plan(plan);
    arena_.allocate(plan);
  }

  void run() {
    parallel(partition_.threads(), [&](const Worker& worker) { work(worker); });
  }

 private:
  PassWork costs() const {
    const Index I = a_.sizes.input, F = a_.sizes.fed;
    return loop_.costs(I + (a_.dx ? I : 0) + F + (a_.dfed ? F : 0));
  }

  void work(const Worker& worker) {
    const Share mine = partition_.share(worker, schedule_, a_.sizes.hidden, Simd<T>::width);
    const TileScope tiles(loop_.on_tiles());
    loop_.pack(worker);
    if (a_.recompute > 0) recomputation_.pack(worker);
    loop_.load_state(mine);
    if (a_.dx) zero_padding(schedule_, worker.share(a_.sizes.batch), a_.dx);
    if (a_.dfed) zero_padding(schedule_, worker.share(a_.sizes.batch), a_.dfed);
    worker.barrier();  // all is packed
    for (Index segment = segments_.count(); segment-- > 0;) {
      run_back(worker, mine, segments_.steps(segment),
               a_.recompute > 0 ? recomputation_.run(worker, mine, segment)
                                : Stretch<T>{0, a_.gates, a_.h, a_.c});
    }
    loop_.store_state(mine);
  }

  void run_back(const Worker& worker, const Share& mine, Range steps, const Stretch<T>& kept) {
    for (Index end = steps.end; end > steps.begin;) {
      const Index begin = gradients_.chunk_begin(end);
      for (Index step = end; step-- > begin;) {
        loop_.time_step(mine, step, end, kept);
        if (partition_.splits_units()) worker.barrier();
      }
      loop_.state_before(mine, begin, kept);
      worker.barrier();
      gradients_.run(worker,
                     {{begin, end}, loop_.dz(begin, kept), kept.h + (begin - kept.begin) * BH_});
      end = begin;
    }
  }

  const BackwardArgs<T>& a_;
  const Index BH_;
  const Schedule schedule_;
  BackwardLoop<Cell, T> loop_;
  const Segments segments_;
  const Partition partition_;
  Recomputation<Cell, T> recomputation_;
  MergedGradients<Cell, T> gradients_;
  Arena arena_;
};

}  // namespace

template <class T>
void backward(std::string_view cell, const BackwardArgs<T>& args) {
  with_cell(cell, [&](auto policy) { Backward<decltype(policy), T>(args).run(); });
}

template void backward(std::string_view, const BackwardArgs<float>&);
template void backward(std::string_view, const BackwardArgs<double>&);

}  // namespace rnncore
