// Losses: each row function returns the row's loss and writes its gradient; averaged() does the
// rest. The definitions are those of torch.nn.functional with reduction="mean": mse_loss, l1_loss,
// huber_loss, cross_entropy and binary_cross_entropy_with_logits; and the quantile loss of Koenker
// and Bassett, "Regression quantiles", Econometrica 46(1), 1978.
#include "nn/losses.hpp"

#include "nn/softmax.hpp"

namespace rnncore {
namespace {

// Weighted mean of the rows' losses. weight(r) is 0 where a row does not count; row_loss(r, share)
// gets its share of the mean. `cost` = operations per element.
template <class T, class Weight, class RowLoss>
double averaged(Matrix<T> gradient, Index cost, double total, Weight&& weight, RowLoss&& row_loss) {
  const Index work = gradient.rows * gradient.cols * cost;
  const double sum = chunked_sum(gradient.rows, 1, work, [&](Range rows) {
    double part = 0;
    for (Index r = rows.begin; r < rows.end; ++r) {
      const double w = weight(r);
      if (w == 0) {
        std::fill_n(gradient.row(r), gradient.cols, T{0});
      } else {
        part += w * row_loss(r, w / total);
      }
    }
    return part;
  });
  return total == 0 ? 0.0 : sum / total;
}

// An element's loss, and its derivative.
template <class T>
struct Term {
  double loss;
  T gradient;
};

// term(e, i) of every error e = y - target.
template <class T, class ErrorTerm>
double error_row(const T* y, const T* target, Mask mask, T scale, T* dy, Index cols,
                 ErrorTerm&& term) {
  const auto counted = [=](Index i) {
    const Term<T> found = term(y[i] - target[i], i);
    dy[i] = scale * found.gradient;
    return found.loss;
  };
  if (mask == nullptr) return lane_sum(cols, counted);
  return lane_sum(cols, [=](Index i) {
    if (mask[i] != 0) return counted(i);
    dy[i] = 0;
    return 0.0;
  });
}

// Mean of term(e, i).loss; its gradient is `factor` times term(e, i).gradient.
template <class T, class ErrorTerm>
double error_loss(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                  double factor, Matrix<T> dy, ErrorTerm&& term) {
  if (y.cols == 0) return 0.0;
  const double total = counted.total(y.rows, y.cols);
  const auto weight = [&](Index r) { return counted.weight(r); };
  return averaged(dy, 1, total, weight, [&](Index r, double share) {
    return error_row(y.row(r), target.row(r), counted.elements_of(r, y.cols),
                     static_cast<T>(factor * share), dy.row(r), y.cols, term);
  });
}

// log sum exp(z - max) + max - z[label], gradient scale * (softmax(z) - onehot(label))
template <class T>
double softmax_row(const T* z, Index label, T scale, T* dz, Index cols) {
  const LogSum log_softmax = scaled_softmax(z, scale, dz, cols);
  dz[label] -= scale;
  return -log_softmax(static_cast<double>(z[label]));
}

// max(z, 0) - z t + log(1 + exp(-|z|)), gradient scale * (logistic(z) - t)
template <class T>
double logistic_row(const T* z, const T* target, Mask mask, T scale, T* dz, Index cols) {
  double sum = 0;
  for (Index i = 0; i < cols; i += block_size) {
    const Index count = std::min(block_size, cols - i);
    const Block<T> x = load(z + i, count), t = load(target + i, count);
    const Block<T> e = (-x.abs()).exp();  // never overflows
    const Block<T> p = (x >= T{0}).select(Block<T>::Ones(), e) / (T{1} + e);
    store<T>(scale * (p - t), dz + i, count);
    const Block<T> loss = (x.max(T{0}) - x * t) + e.log1p();
    const Mask counted = mask == nullptr ? nullptr : mask + i;
    sum += lane_sum(count, [&](Index k) {
      if (counted == nullptr || counted[k] != 0) return loss[k];
      dz[i + k] = 0;
      return T{0};
    });
  }
  return sum;
}

}  // namespace

template <class T>
double mean_squared_error(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                          Matrix<T> dy) {
  return error_loss(y, target, counted, 2, dy, [](T e, Index) {
    return Term<T>{static_cast<double>(e) * static_cast<double>(e), e};
  });
}

template <class T>
double mean_absolute_error(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                           Matrix<T> dy) {
  return error_loss(y, target, counted, 1, dy, [](T e, Index) {  // e itself: 0, or NaN
    return Term<T>{std::abs(static_cast<double>(e)), e > 0 ? T{1} : e < 0 ? T{-1} : e};
  });
}

template <class T>
double huber(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted, double delta,
             Matrix<T> dy) {
  const T most = static_cast<T>(delta);
  return error_loss(y, target, counted, 1, dy, [=](T e, Index) {  // a NaN passes each min and max
    const double size = std::abs(static_cast<double>(e)), squared = std::min(size, delta);
    return Term<T>{squared * (size - 0.5 * squared), std::max(std::min(e, most), -most)};
  });
}

template <class T>
double quantile(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                const T* levels, Matrix<T> dy) {
  return error_loss(y, target, counted, 1, dy, [=](T e, Index i) {
    const T rate = e > 0 ? T{1} - levels[i] : e < 0 ? -levels[i] : e;  // e itself: 0, or NaN
    return Term<T>{static_cast<double>(rate) * static_cast<double>(e), rate};
  });
}

template <class T>
double binary_cross_entropy(Matrix<const T> logits, Matrix<const T> target,
                            const Counted<T>& counted, Matrix<T> dlogits) {
  if (logits.cols == 0) return 0.0;
  const double total = counted.total(logits.rows, logits.cols);
  const auto weight = [&](Index r) { return counted.weight(r); };
  return averaged(dlogits, 8, total, weight, [&](Index r, double share) {
    return logistic_row(logits.row(r), target.row(r), counted.elements_of(r, logits.cols),
                        static_cast<T>(share), dlogits.row(r), logits.cols);
  });
}

template <class T>
double softmax_cross_entropy(Matrix<const T> logits, const Index* labels, const Counted<T>& counted,
                             Index ignore_index, Matrix<T> dlogits) {
  if (logits.cols == 0) return 0.0;
  const auto weight = [&](Index r) { return labels[r] == ignore_index ? 0.0 : counted.weight(r); };
  double total = 0;
  for (Index r = 0; r < logits.rows; ++r) total += weight(r);
  return averaged(dlogits, 8, total, weight, [&](Index r, double share) {
    return softmax_row(logits.row(r), labels[r], static_cast<T>(share), dlogits.row(r),
                       logits.cols);
  });
}

template double mean_squared_error(Matrix<const float>, Matrix<const float>, const Counted<float>&,
                                   Matrix<float>);
template double mean_absolute_error(Matrix<const float>, Matrix<const float>, const Counted<float>&,
                                    Matrix<float>);
template double huber(Matrix<const float>, Matrix<const float>, const Counted<float>&, double,
                      Matrix<float>);
template double quantile(Matrix<const float>, Matrix<const float>, const Counted<float>&,
                         const float*, Matrix<float>);
template double binary_cross_entropy(Matrix<const float>, Matrix<const float>,
                                     const Counted<float>&, Matrix<float>);
template double softmax_cross_entropy(Matrix<const float>, const Index*, const Counted<float>&,
                                      Index, Matrix<float>);

template double mean_squared_error(Matrix<const double>, Matrix<const double>,
                                   const Counted<double>&, Matrix<double>);
template double mean_absolute_error(Matrix<const double>, Matrix<const double>,
                                    const Counted<double>&, Matrix<double>);
template double huber(Matrix<const double>, Matrix<const double>, const Counted<double>&, double,
                      Matrix<double>);
template double quantile(Matrix<const double>, Matrix<const double>, const Counted<double>&,
                         const double*, Matrix<double>);
template double binary_cross_entropy(Matrix<const double>, Matrix<const double>,
                                     const Counted<double>&, Matrix<double>);
template double softmax_cross_entropy(Matrix<const double>, const Index*, const Counted<double>&,
                                      Index, Matrix<double>);

}  // namespace rnncore
