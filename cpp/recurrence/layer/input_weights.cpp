// The ways to compute W x.
#include "recurrence/layer/input_weights.hpp"

namespace rnncore {

template <class T>
InputWeights<T>::InputWeights(const LayerArgs<T>& args, Index rows, Index chunk, bool kept)
    : weights_(args.weights.weight_ih),
      H_(args.sizes.hidden),
      slots_(args.cell->slots),
      x_run_(args.cell->wiring.runs('x')[0]),
      in_place_(choose_input_product<T>(
                    {rows, weights_.rows, weights_.cols, args.batch_invariant}) == Kernel::gemv),
      products_(args.precision, rows, args.batch_invariant) {
  assert(x_run_.count == args.cell->gates);  // W meets consecutive slots
  products_.fit(chunk, weights_.rows, weights_.cols);
  // The tile unit's product splits rows and panels together: its panels are not kept.
  if (!kept || in_place_ || may_use_tiles<T>) return;
  packed_.emplace(WeightLayout<T>::by_rows_of(weights_), LoopRows{.at_once = chunk},
                  args.precision);
}

template <class T>
void InputWeights<T>::plan_panels(ArenaPlan& plan) {
  if (packed_) packed_->plan_panels(plan);
}

template <class T>
void InputWeights<T>::plan_scratch(ArenaPlan& plan, int threads) {
  if (!in_place_ && !packed_) products_.plan(plan, threads);
}

template <class T>
void InputWeights<T>::pack(const Worker& worker) {
  if (packed_) packed_->pack(worker.share(packed_->panels()));
}

template <class T>
void InputWeights<T>::multiply(const Worker& worker, Matrix<const T> x, T* z) const {
  const Matrix<T> to{z + x_run_.slot * H_, x.rows, weights_.rows, slots_ * H_};
  if (in_place_) {
    product_in_place<T>(worker, x, weights_, to);
  } else if (packed_) {
    multiply_kept(worker, x, to);
  } else {
    product<T>(worker, Into::assign, Op::none, x, Op::transpose, weights_, to, products_);
  }
}

template <class T>
void InputWeights<T>::multiply_kept(const Worker& worker, Matrix<const T> x, Matrix<T> to) const {
  constexpr Index width = Simd<T>::width;
  const Index panels = packed_->panels();
  const bool by_rows = panels < block_panels * worker.size;
  const Range rows = by_rows ? worker.share(x.rows, block_rows) : Range{0, x.rows};
  packed_->multiply(worker.thread, x.row(rows.begin), x.stride, rows.size(),
                    by_rows ? Range{0, panels} : worker.share(panels, block_panels), false,
                    [&](Index first, Index count, Index panel, int some, const T* sums) {
                      for (Index r = rows.begin + first; r < rows.begin + first + count; ++r) {
                        for (Index p = panel; p < panel + some; ++p, sums += width) {
                          const Partial<T> lanes{std::min(width, to.cols - p * width)};
                          lanes.store(Simd<T>::load(sums), to.row(r) + p * width);
                        }
                      }
                    });
}

template class InputWeights<float>;
template class InputWeights<double>;

}  // namespace rnncore
