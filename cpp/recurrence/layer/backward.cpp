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
        schedule_(args.sizes, args.pieces, args.reverse),
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
    Undo<T> undo;
    note_gradients(undo, a_);
    undo.guard(schedule_.valid_steps(), [&](Interruptible may) {
      parallel(partition_.threads(), [&](const Team& team) { work(team); }, may);
    });
  }

 private:
  PassWork costs() const {
    const Index I = a_.sizes.input, F = a_.sizes.fed;
    return loop_.costs(I + (a_.dx ? I : 0) + F + (a_.dfed ? F : 0));
  }

  void work(const Team& team) {
    run_shares(team, [&](const Worker& worker, const Share& mine) {
      loop_.pack(worker);
      if (a_.recompute > 0) recomputation_.pack(worker);
      loop_.load_state(mine);
      zero_padding(schedule_, worker.share(schedule_.rows()), a_.dx);
      zero_padding(schedule_, worker.share(schedule_.rows()), a_.dfed);
    });
    const BackwardTape<T> whole{.schedule = &schedule_,
                                .gates = a_.tape.gates,
                                .states = a_.tape.states,
                                .stride = a_.state_strides(),
                                .gates_per_row = a_.gates_per_row()};
    for (Index segment = segments_.count(); segment-- > 0;) {
      run_back(team, segments_.steps(segment),
               a_.recompute > 0 ? recomputation_.run(team, segment) : whole);
    }
    team.run(partition_.parts(),
             [&](const Worker& worker) { loop_.store_state(worker.share(a_.sizes.batch)); });
  }

  void run_back(const Team& team, Range steps, const BackwardTape<T>& tape) {
    for (Index end = steps.end; end > steps.begin;) {
      const Range chunk{gradients_.chunk_begin(end), end};
      time_steps(team, chunk, tape);
      run_shares(team, [&](const Worker&, const Share& mine) {
        const TileScope tiles(loop_.on_tiles());
        loop_.state_before(mine, chunk.begin, tape);
      });
      gradients_.run(team, chunk, tape, loop_.chunk_rows());
      end = chunk.begin;
    }
  }

  void time_steps(const Team& team, Range chunk, const BackwardTape<T>& tape) {
    const Index some = partition_.steps_of_run(chunk);
    for (Index end = chunk.end; end > chunk.begin; end -= some) {
      if (partition_.unit_parts() > 1 && loop_.has_reset()) {
        halves(team, end - 1, chunk, tape);
        continue;
      }
      run_shares(team, [&](const Worker& worker, const Share& mine) {
        const TileScope tiles(loop_.on_tiles());
        Pace pace(worker, schedule_.rows() * a_.step_work());
        for (Index step = end; step-- > end - some && !pace.ends();) {
          loop_.time_step(mine, step, chunk, tape);
        }
      });
    }
  }

  // One time step, a run for each of its products.
  void halves(const Team& team, Index step, Range chunk, const BackwardTape<T>& tape) {
    run_shares(team, [&](const Worker&, const Share& mine) {
      const TileScope tiles(loop_.on_tiles());
      loop_.cell_half(mine, step, chunk, tape);
    });
    run_shares(team, [&](const Worker&, const Share& mine) {
      const TileScope tiles(loop_.on_tiles());
      loop_.reset_half(mine, step, chunk, tape);
    });
  }

  // A run of the partition's parts.
  template <class F>
  void run_shares(const Team& team, const F& f) const {
    team.run(partition_.parts(), [&](const Worker& worker) {
      f(worker, partition_.share(worker, schedule_, a_.sizes.hidden, Simd<T>::width));
    });
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
