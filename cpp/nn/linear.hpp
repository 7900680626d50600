// y = x W^T + b and its gradients.
#pragma once

#include "core/types.hpp"

namespace rnncore {

template <class T>
struct LinearForwardArgs {
  Matrix<const T> x;             // (N, I)
  Matrix<const T> weight;        // (O, I)
  const T* bias;                 // (O,) or null
  Matrix<T> y;                   // (N, O), assigned
  bool batch_invariant = false;  // whether a row's bits must not depend on the number of rows
};

template <class T>
struct LinearBackwardArgs {
  Matrix<const T> x;       // (N, I)
  Matrix<const T> weight;  // (O, I)
  Matrix<const T> dy;      // (N, O)
  Matrix<T> dx;            // (N, I), assigned; empty: not computed
  Matrix<T> dweight;       // (O, I), added into
  T* dbias;                // (O,), added into, or null
};

template <class T>
void linear_forward(const LinearForwardArgs<T>& args);

template <class T>
void linear_backward(const LinearBackwardArgs<T>& args);

}  // namespace rnncore
