// Losses with their gradients: the weighted mean over what counts, summed in float64.
#pragma once

#include "nn/counted.hpp"

namespace rnncore {

// Losses of each element's error e = y - target; all arrays (N, O). The mean is over elements.

// e^2
template <class T>
double mean_squared_error(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                          Matrix<T> dy);

// |e|; its gradient is 0 where e = 0
template <class T>
double mean_absolute_error(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                           Matrix<T> dy);

// e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) elsewhere
template <class T>
double huber(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted, double delta,
             Matrix<T> dy);

// -q e where e < 0, (1 - q) e elsewhere: least at the q-quantile; levels (O,) holds each column's q
template <class T>
double quantile(Matrix<const T> y, Matrix<const T> target, const Counted<T>& counted,
                const T* levels, Matrix<T> dy);

// mean of -(t log p + (1 - t) log(1 - p)), p = logistic(logits); all arrays (N, O).
template <class T>
double binary_cross_entropy(Matrix<const T> logits, Matrix<const T> target,
                            const Counted<T>& counted, Matrix<T> dlogits);

// mean of -log softmax(logits)[label] over the rows that count and whose label is not
// `ignore_index`; logits (N, C), labels (N,), checked before: in [0, C) or `ignore_index`.
template <class T>
double softmax_cross_entropy(Matrix<const T> logits, const Index* labels, const Counted<T>& counted,
                             Index ignore_index, Matrix<T> dlogits);

}  // namespace rnncore
