// What the time loop multiplies: the columns of a row [h | f] and the weights that meet them; or,
// without R, values fed back that are all known.
#pragma once

#include <algorithm>

#include "core/arena.hpp"
#include "recurrence/layer/layer.hpp"

namespace rnncore {

// R on h, U on what outputs feed back, [R | U] on both, or nothing. With R, U on values known
// before is not part of it: it is merged over time.
template <class T>
class RecurrentOperand {
 public:
  explicit RecurrentOperand(const LayerArgs<T>& args) {
    const Matrix<const T> r = args.weights.weight_hh, u = args.weights.weight_oh;
    if (r) {
      weights_ = u && !args.fed ? side_by_side(r, u) : r;
    } else if (u) {
      weights_ = u;
      if (!args.fed) first_ = args.sizes.hidden;
    }
  }

  explicit operator bool() const { return static_cast<bool>(weights_); }
  Matrix<const T> weights() const { return weights_; }  // (G*H, depth)
  Index first() const { return first_; }                // the first column that meets them
  Index depth() const { return weights_.cols; }

 private:
  Matrix<const T> side_by_side(Matrix<const T> r, Matrix<const T> u) {
    const Index depth = checked_add(r.cols, u.cols);
    T* to = nullptr;
    ArenaPlan plan;
    plan.array(to, checked_mul(r.rows, depth));
    copy_.allocate(plan);
    for (Index i = 0; i < r.rows; ++i) {
      std::copy_n(u.row(i), u.cols, std::copy_n(r.row(i), r.cols, to + i * depth));
    }
    return {to, r.rows, depth, depth};
  }

  Arena copy_;
  Matrix<const T> weights_;
  Index first_ = 0;
};

}  // namespace rnncore
