// Likelihoods: targets are taken several at a time, whatever their rows; what they are of the mean
// and of the gradient is one function for each distribution.
#include "nn/likelihoods.hpp"

#include <Eigen/Core>
#include <array>
#include <cmath>
#include <numbers>

#include "nn/reduce.hpp"

namespace rnncore {
namespace {

constexpr Index at_once = 8;
using Values = Eigen::Array<double, at_once, 1>;

constexpr double pi = std::numbers::pi;

Values log_add_exp(const Values& a, double b) {
  return a.max(b) + (-(a - b).abs()).exp().log1p();
}

// A loss and the gradients of its P parameters.
template <int P>
struct Terms {
  Values loss;
  std::array<Values, P> gradients;
};

// (log(2 pi v) + e^2 / v) / 2
Terms<2> gaussian(const Values& x, const std::array<Values, 2>& y, double log_least) {
  const auto& [m, s] = y;
  const Values log_v = log_add_exp(s, log_least), error = m - x, precision = (-log_v).exp();
  const Values ratio = error * error * precision;
  return {(std::log(2 * pi) + log_v + ratio) / 2,
          {error * precision, (s - log_v).exp() * (1 - ratio) / 2}};
}

// log(gamma(x + 1/2) / gamma(x)) for x >= 1, and its derivative: Stirling's series of the
// difference, at x + 10, and gamma(x + 1) = x gamma(x) to come back. The two logarithms by
// themselves would cancel for large x.
void log_gamma_step(const Values& x, Values& value, Values& derivative) {
  constexpr double series[] = {-1.0 / 8,      1.0 / 192,      -1.0 / 640,      17.0 / 14336,
                               -31.0 / 18432, 691.0 / 180224, -5461.0 / 425984};
  constexpr int shift = 10;
  const Values high = x + shift, inverse = 1 / high;
  value = high.log() / 2;
  derivative = inverse / 2;
  Values power = inverse;
  double order = 1;
  for (const double factor : series) {
    value += factor * power;
    power *= inverse;
    derivative -= factor * order * power;
    power *= inverse;
    order += 2;
  }
  Values product = Values::Ones();
  for (int j = 0; j < shift; ++j) {
    product *= 1 + 0.5 / (x + j);
    derivative += 0.5 / (x + j) / (x + j + 0.5);
  }
  value -= product.log();
}

// (log(pi n v) + (n + 1) log(1 + e^2 / (n v))) / 2 - log(gamma((n + 1) / 2) / gamma(n / 2))
Terms<3> student_t(const Values& x, const std::array<Values, 3>& y, double log_least) {
  const auto& [m, s, r] = y;
  const Values log_v = log_add_exp(s, log_least), n = 2 + log_add_exp(r, 0);
  const Values error = m - x, precision = (-log_v).exp();
  const Values ratio = error * error * precision / n, log_ratio = ratio.log1p();
  const Values pull = (n + 1) / (n * (1 + ratio));
  Values step, dstep;
  log_gamma_step(n / 2, step, dstep);
  const Values dn = (1 / n - dstep + log_ratio - pull * ratio) / 2;
  return {((pi * n).log() + log_v + (n + 1) * log_ratio) / 2 - step,
          {error * precision * pull, (s - log_v).exp() * (1 - pull * n * ratio) / 2,
           dn * (-log_add_exp(-r, 0)).exp()}};
}

// Some targets that count, with their outputs; when it is full their terms are computed at once.
template <class T, int P>
class Batch {
 public:
  Batch(Matrix<const T> y, Matrix<const T> target, Matrix<T> dy)
      : y_(y), target_(target), dy_(dy) {}

  bool full() const { return count_ == at_once; }

  void add(Index row, Index column, double weight) {
    x_[count_] = static_cast<double>(target_.row(row)[column]);
    for (int p = 0; p < P; ++p) {
      outputs_[p][count_] = static_cast<double>(y_.row(row)[column * P + p]);
    }
    places_[static_cast<std::size_t>(count_++)] = {dy_.row(row) + column * P, weight};
  }

  // Writes the gradients and returns the sum of the weighted losses.
  template <class Density>
  double finish(double total, Density&& density) {
    const Terms<P> terms = density(x_, outputs_);
    double sum = 0;
    for (Index k = 0; k < count_; ++k) {
      const auto [dy, weight] = places_[static_cast<std::size_t>(k)];
      sum += weight * terms.loss[k];
      for (int p = 0; p < P; ++p) {
        dy[p] = static_cast<T>(weight / total * terms.gradients[static_cast<std::size_t>(p)][k]);
      }
    }
    count_ = 0;
    return sum;
  }

 private:
  struct Place {
    T* dy;
    double weight;
  };

  Matrix<const T> y_, target_;
  Matrix<T> dy_;
  Index count_ = 0;
  Values x_ = Values::Zero();
  std::array<Values, P> outputs_{};
  std::array<Place, at_once> places_{};
};

template <int P, class T, class Density>
double likelihood(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                  double least_variance, Matrix<T> dy, Density&& density) {
  const Index O = target.cols;
  if (O == 0) return 0.0;
  const double total = counted.total(target.rows, O), log_least = std::log(least_variance);
  const auto terms = [&](const Values& x, const std::array<Values, P>& outputs) {
    return density(x, outputs, log_least);
  };
  const double sum = chunked_sum(target.rows, 1, target.rows * O * 50 * P, [&](Range rows) {
    Batch<T, P> batch(y, target, dy);
    double part = 0;
    for (Index r = rows.begin; r < rows.end; ++r) {
      const double weight = counted.weight(r);
      const Mask mask = counted.elements_of(r, O);
      for (Index o = 0; o < O; ++o) {
        if (weight == 0 || (mask != nullptr && mask[o] == 0)) {
          std::fill_n(dy.row(r) + o * P, P, T{0});
          continue;
        }
        batch.add(r, o, weight);
        if (batch.full()) part += batch.finish(total, terms);
      }
    }
    return part + batch.finish(total, terms);
  });
  return total == 0 ? 0.0 : sum / total;
}

}  // namespace

template <class T>
double gaussian_negative_log_likelihood(Matrix<const T> y, Matrix<const T> target,
                                        const Counted<T>& counted, double least_variance,
                                        Matrix<T> dy) {
  return likelihood<2>(y, target, counted, least_variance, dy, gaussian);
}

template <class T>
double student_t_negative_log_likelihood(Matrix<const T> y, Matrix<const T> target,
                                         const Counted<T>& counted, double least_variance,
                                         Matrix<T> dy) {
  return likelihood<3>(y, target, counted, least_variance, dy, student_t);
}

template double gaussian_negative_log_likelihood(Matrix<const float>, Matrix<const float>,
                                                 const Counted<float>&, double, Matrix<float>);
template double gaussian_negative_log_likelihood(Matrix<const double>, Matrix<const double>,
                                                 const Counted<double>&, double, Matrix<double>);
template double student_t_negative_log_likelihood(Matrix<const float>, Matrix<const float>,
                                                  const Counted<float>&, double, Matrix<float>);
template double student_t_negative_log_likelihood(Matrix<const double>, Matrix<const double>,
                                                  const Counted<double>&, double, Matrix<double>);

}  // namespace rnncore
