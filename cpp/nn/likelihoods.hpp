// Negative log-likelihoods of distributions whose parameters are a network's outputs.
#pragma once

#include "nn/counted.hpp"

namespace rnncore {

// Derived in docs/math/losses.md; computed in float64. The weighted mean is over the targets (N, O)
// that count. y and dy hold the parameters of each target side by side.

// y (N, O * 2): mean m and s, with the variance exp(s) + least_variance
template <class T>
double gaussian_negative_log_likelihood(Matrix<const T> y, Matrix<const T> target,
                                        const Counted<T>& counted, double least_variance,
                                        Matrix<T> dy);

// y (N, O * 3): location m, s and r, with scale^2 = exp(s) + least_variance and
// 2 + log(1 + exp(r)) degrees of freedom
template <class T>
double student_t_negative_log_likelihood(Matrix<const T> y, Matrix<const T> target,
                                         const Counted<T>& counted, double least_variance,
                                         Matrix<T> dy);

}  // namespace rnncore
