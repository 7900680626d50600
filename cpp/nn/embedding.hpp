// Rows of a table picked by index, and the gradient of the table.
#pragma once

#include "core/types.hpp"

namespace rnncore {

// Position of the first index outside [0, rows), or -1.
Index first_out_of_range(const Index* indices, Index count, Index rows);

// Indices are in range when a call starts (checked before). Each is read once: false where another
// thread has changed one of them meanwhile to none of a row; then the outputs are not complete.

// y[n] = weight[indices[n]]; weight (V, D), y (N, D).
template <class T>
bool embedding_forward(const Index* indices, Matrix<const T> weight, Matrix<T> y);

// dweight[indices[n]] += dy[n], for n in order.
template <class T>
bool embedding_backward(const Index* indices, Matrix<const T> dy, Matrix<T> dweight);

}  // namespace rnncore
