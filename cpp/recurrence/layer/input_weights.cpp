// The ways to compute W x.
#include "recurrence/layer/input_weights.hpp"

namespace rnncore {

template <class T>
InputWeights<T>::InputWeights(const LayerArgs<T>& args, Index rows, Index chunk, bool kept)
    : weights_(args.weights.weight_ih),
      H_(args.sizes.hidden),
      slots_(args.cell->slots),
      x_run_(args.cell->wiring.runs('x')[0]),
      in_place_(few_rows(rows, args.sizes.input)),
      kept_(kept && !on_tiles && !in_place_),
      packed_(1, weights_, {{0, 0}, {args.sizes.input, 0}, depth_block}, chunk, args.precision) {
  assert(x_run_.count == args.cell->gates);  // W meets consecutive slots
  scratch_.precision = args.precision;
  scratch_.problem_rows = rows;
  scratch_.each = product_scratch<T>(chunk, weights_.rows, args.sizes.input);
}

template <class T>
void InputWeights<T>::plan_panels(ArenaPlan& plan) {
  if (kept_) packed_.plan_panels(plan);
}

template <class T>
void InputWeights<T>::plan_scratch(ArenaPlan& plan, int threads) {
  if (!in_place_ && !kept_) plan.array(scratch_.data, threads * scratch_.each);
}

template <class T>
void InputWeights<T>::pack(const Worker& worker) {
  if (kept_) packed_.pack(worker.share(packed_.panels()));
}

template <class T>
void InputWeights<T>::multiply(const Worker& worker, Matrix<const T> x, T* z) const {
  const Matrix<T> to{z + x_run_.slot * H_, x.rows, weights_.rows, slots_ * H_};
  if (in_place_) {
    product_in_place<T>(worker, x, weights_, to);
  } else if (kept_) {
    multiply_kept(worker, x, to);
  } else {
    product<T>(worker, Into::assign, Op::none, x, Op::transpose, weights_, to, scratch_);
  }
}

template <class T>
void InputWeights<T>::multiply_kept(const Worker& worker, Matrix<const T> x, Matrix<T> to) const {
  constexpr Index width = Simd<T>::width, wide = Tiles<T, 1>::main_panels;
  const Index panels = packed_.panels();
  const bool by_rows = panels < wide * worker.size;
  const Range rows = by_rows ? worker.share(x.rows, Tiles<T, 1>::max_rows) : Range{0, x.rows};
  packed_.multiply(worker.rank, x.row(rows.begin), x.stride, rows.size(),
                   by_rows ? Range{0, panels} : worker.share(panels, wide), false,
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
