// Optimizer steps and the gradient norm, each one pass over flat arrays.
#pragma once

#include "core/types.hpp"

namespace rnncore {

template <class T>
struct SgdArgs {
  Index size;
  T* params;  // updated
  const T* grads;
  T* velocity;  // updated; null: no momentum
  double lr, momentum;
  bool nesterov;
  double weight_decay;
};

template <class T>
struct AdamArgs {
  Index size;
  T* params;  // updated
  const T* grads;
  T *m, *v;    // first and second moment, updated
  Index step;  // 1 at the first step
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;  // true: AdamW
};

template <class T>
void sgd_step(const SgdArgs<T>& args);

template <class T>
void adam_step(const AdamArgs<T>& args);

// Sum of squares, in float64.
template <class T>
double squared_norm(const T* values, Index size);

template <class T>
void scale(T* values, Index size, double factor);

}  // namespace rnncore
