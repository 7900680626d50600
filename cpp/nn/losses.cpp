// Losses: each row function returns the row's loss and writes its gradient; averaged() does the
// rest. The definitions are those of torch.nn.functional: mse_loss, cross_entropy and
// binary_cross_entropy_with_logits, with reduction="mean".
#include "nn/losses.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "nn/reduce.hpp"

namespace rnncore {
namespace {

// Elements are taken in full blocks of this fixed size: Eigen then picks the same instructions for
// an element wherever it lies in memory. (Over a whole row it would treat the ends differently.)
constexpr Index block_size = 16;
template <class T>
using Block = Eigen::Array<T, block_size, 1>;

// The next `count` elements; the rest of the block is zero.
template <class T>
Block<T> load(const T* from, Index count) {
  if (count >= block_size) return Eigen::Map<const Block<T>>(from);
  Block<T> result = Block<T>::Zero();
  std::copy_n(from, count, result.data());
  return result;
}

template <class T>
void store(const Block<T>& block, T* to, Index count) {
  std::copy_n(block.data(), std::min(count, block_size), to);
}

// Loss of every row for which counts(row), divided by `count`. `cost` = operations per element.
template <class T, class Counts, class RowLoss>
double averaged(Matrix<T> gradient, Index cost, double count, Counts&& counts, RowLoss&& row_loss) {
  const Index work = gradient.rows * gradient.cols * cost;
  const double sum = chunked_sum(gradient.rows, 1, work, [&](Range rows) {
    double part = 0;
    for (Index r = rows.begin; r < rows.end; ++r) {
      if (counts(r)) {
        part += row_loss(r);
      } else {
        std::fill_n(gradient.row(r), gradient.cols, T{0});
      }
    }
    return part;
  });
  return count > 0 ? sum / count : 0.0;
}

template <class Counts>
double count_rows(Index rows, Counts&& counts) {
  Index count = 0;
  for (Index r = 0; r < rows; ++r) count += counts(r) ? 1 : 0;
  return static_cast<double>(count);
}

// (y - t)^2, gradient scale * (y - t)
template <class T>
double squared_error_row(const T* y, const T* target, T scale, T* dy, Index cols) {
  return lane_sum(cols, [=](Index i) {
    const T error = y[i] - target[i];
    dy[i] = scale * error;
    return static_cast<double>(error) * static_cast<double>(error);
  });
}

// log sum exp(z - max) + max - z[label], gradient scale * (softmax(z) - onehot(label))
template <class T>
double softmax_row(const T* z, Index label, T scale, T* dz, Index cols) {
  // Whether a NaN wins here does not matter: it makes `sum` NaN.
  const T largest = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>(z, cols).maxCoeff();
  for (Index i = 0; i < cols; i += block_size) {
    store<T>((load(z + i, cols - i) - largest).exp(), dz + i, cols - i);
  }
  const double sum = lane_sum(cols, [=](Index i) { return dz[i]; });
  const T factor = static_cast<T>(static_cast<double>(scale) / sum);
  for (Index i = 0; i < cols; ++i) dz[i] *= factor;
  dz[label] -= scale;
  return std::log(sum) + (static_cast<double>(largest) - static_cast<double>(z[label]));
}

// max(z, 0) - z t + log(1 + exp(-|z|)), gradient scale * (logistic(z) - t)
template <class T>
double logistic_row(const T* z, const T* target, T scale, T* dz, Index cols) {
  double sum = 0;
  for (Index i = 0; i < cols; i += block_size) {
    const Index count = std::min(block_size, cols - i);
    const Block<T> x = load(z + i, count), t = load(target + i, count);
    const Block<T> e = (-x.abs()).exp();  // never overflows
    const Block<T> p = (x >= T{0}).select(Block<T>::Ones(), e) / (T{1} + e);
    store<T>(scale * (p - t), dz + i, count);
    const Block<T> loss = (x.max(T{0}) - x * t) + e.log1p();
    sum += lane_sum(count, [&](Index k) { return loss[k]; });
  }
  return sum;
}

}  // namespace

template <class T>
double mean_squared_error(Matrix<const T> y, Matrix<const T> target, Mask mask, Matrix<T> dy) {
  if (y.cols == 0) return 0.0;
  const auto counts = [=](Index r) { return mask == nullptr || mask[r] != 0; };
  const double count = count_rows(y.rows, counts) * static_cast<double>(y.cols);
  const T scale = static_cast<T>(2 / count);
  return averaged(dy, 1, count, counts, [&](Index r) {
    return squared_error_row(y.row(r), target.row(r), scale, dy.row(r), y.cols);
  });
}

Index first_bad_label(const Index* labels, Index count, Mask mask, Index classes,
                      Index ignore_index) {
  for (Index n = 0; n < count; ++n) {
    if (mask != nullptr && mask[n] == 0) continue;
    if (labels[n] == ignore_index) continue;
    if (labels[n] < 0 || labels[n] >= classes) return n;
  }
  return -1;
}

template <class T>
double softmax_cross_entropy(Matrix<const T> logits, const Index* labels, Mask mask,
                             Index ignore_index, Matrix<T> dlogits) {
  if (logits.cols == 0) return 0.0;
  const auto counts = [=](Index r) {
    return (mask == nullptr || mask[r] != 0) && labels[r] != ignore_index;
  };
  const double count = count_rows(logits.rows, counts);
  const T scale = static_cast<T>(1 / count);
  return averaged(dlogits, 8, count, counts, [&](Index r) {
    return softmax_row(logits.row(r), labels[r], scale, dlogits.row(r), logits.cols);
  });
}

template <class T>
double binary_cross_entropy(Matrix<const T> logits, Matrix<const T> target, Mask mask,
                            Matrix<T> dlogits) {
  if (logits.cols == 0) return 0.0;
  const auto counts = [=](Index r) { return mask == nullptr || mask[r] != 0; };
  const double count = count_rows(logits.rows, counts) * static_cast<double>(logits.cols);
  const T scale = static_cast<T>(1 / count);
  return averaged(dlogits, 8, count, counts, [&](Index r) {
    return logistic_row(logits.row(r), target.row(r), scale, dlogits.row(r), logits.cols);
  });
}

template double mean_squared_error(Matrix<const float>, Matrix<const float>, Mask, Matrix<float>);
template double mean_squared_error(Matrix<const double>, Matrix<const double>, Mask,
                                   Matrix<double>);
template double softmax_cross_entropy(Matrix<const float>, const Index*, Mask, Index,
                                      Matrix<float>);
template double softmax_cross_entropy(Matrix<const double>, const Index*, Mask, Index,
                                      Matrix<double>);
template double binary_cross_entropy(Matrix<const float>, Matrix<const float>, Mask, Matrix<float>);
template double binary_cross_entropy(Matrix<const double>, Matrix<const double>, Mask,
                                     Matrix<double>);

}  // namespace rnncore
