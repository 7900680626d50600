// Losses with their gradients: the mean over what counts, summed in float64.
#pragma once

#include "core/types.hpp"

namespace rnncore {

// One byte per row: 0 = the row does not count. Null: every row counts.
// A row that does not count is never read and gets a zero gradient; where nothing counts the loss
// is 0.
using Mask = const std::uint8_t*;

// mean (y - target)^2 over the elements of the rows that count; all arrays (N, O).
template <class T>
double mean_squared_error(Matrix<const T> y, Matrix<const T> target, Mask mask, Matrix<T> dy);

// mean of -log softmax(logits)[label] over the rows that count and whose label is not
// `ignore_index`; logits (N, C), labels (N,). Labels are checked before: first_bad_label.
template <class T>
double softmax_cross_entropy(Matrix<const T> logits, const Index* labels, Mask mask,
                             Index ignore_index, Matrix<T> dlogits);

// Position of the first label of a counting row that is neither in [0, classes) nor
// `ignore_index`, or -1.
Index first_bad_label(const Index* labels, Index count, Mask mask, Index classes,
                      Index ignore_index);

// mean of -(t log p + (1 - t) log(1 - p)), p = logistic(logits), over the elements of the rows that
// count; all arrays (N, O).
template <class T>
double binary_cross_entropy(Matrix<const T> logits, Matrix<const T> target, Mask mask,
                            Matrix<T> dlogits);

}  // namespace rnncore
