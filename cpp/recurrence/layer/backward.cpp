// Backward pass (BPTT): the time loop turns the gates into their gradients dz; then the merged
// gradients. Gates that forward did not keep are computed again, a segment at a time.
#include "core/arena.hpp"
#include "recurrence/layer/backward_loop.hpp"
#include "recurrence/layer/gradients.hpp"
#include "recurrence/layer/recompute.hpp"

namespace rnncore {
namespace {

template <class T>
class Backward {
 public:
  explicit Backward(const BackwardArgs<T>& args)
      : a_(args),
        schedule_(args.sizes, args.lengths, args.reverse),
        chunk_(gradient_chunk(args, schedule_)),
        loop_(args, schedule_, chunk_),
        segments_(schedule_, chunk_, args.recompute),
        partition_(costs()),
        recomputation_(args, schedule_, segments_, partition_),
        gradients_(args, schedule_, chunk_, partition_.threads()) {
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
    zero_padding(schedule_, worker.share(a_.sizes.batch), a_.dx);
    zero_padding(schedule_, worker.share(a_.sizes.batch), a_.dfed);
    worker.barrier();  // all is packed
    const BackwardTape<T> whole{.gates = a_.tape.gates,
                                .states = a_.tape.states,
                                .size = a_.state_sizes(),
                                .gates_per_row = a_.gates_per_row()};
    for (Index segment = segments_.count(); segment-- > 0;) {
      run_back(worker, mine, segments_.steps(segment),
               a_.recompute > 0 ? recomputation_.run(worker, mine, segment) : whole);
    }
    loop_.store_state(mine);
  }

  void run_back(const Worker& worker, const Share& mine, Range steps, const BackwardTape<T>& tape) {
    for (Index end = steps.end; end > steps.begin;) {
      const Range chunk{gradients_.chunk_begin(end), end};
      for (Index step = end; step-- > chunk.begin;) {
        loop_.time_step(mine, step, chunk, tape);
        if (partition_.splits_units()) worker.barrier();
      }
      loop_.state_before(mine, chunk.begin, tape);
      worker.barrier();
      gradients_.run(worker, chunk, tape, loop_.unit_gradients());
      end = chunk.begin;
    }
  }

  const BackwardArgs<T>& a_;
  const Schedule schedule_;
  const Index chunk_;
  BackwardLoop<T> loop_;
  const Segments segments_;
  const Partition partition_;
  Recomputation<T> recomputation_;
  MergedGradients<T> gradients_;
  Arena arena_;
};

}  // namespace

template <class T>
void backward(const BackwardArgs<T>& args) {
  Backward<T>(args).run();
}

template void backward(const BackwardArgs<float>&);
template void backward(const BackwardArgs<double>&);

}  // namespace rnncore
