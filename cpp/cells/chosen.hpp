// The functions of the gates that are chosen at run time, with the interface of functions.hpp. They
// keep z, since not every derivative follows from y, and a bound hides z.
#pragma once

#include <limits>

#include "cells/choice.hpp"
#include "cells/functions.hpp"

namespace rnncore {

// y of a chosen function. Not inlined: a cell's code would be eleven times as long.
template <class T>
[[gnu::noinline]] Simd<T> chosen_value(const GateFunction& function, Simd<T> z) {
  using V = Simd<T>;
  const V alpha = V::broadcast(static_cast<T>(function.alpha));
  const V beta = V::broadcast(static_cast<T>(function.beta));
  const V zero = V::zero(), one = V::broadcast(1);
  switch (function.kind) {
    case Function::sigmoid:
      return logistic(z);
    case Function::tanh:
      return tanh(z);
    case Function::relu:
      return relu(z);
    case Function::affine:
      return madd(alpha, z, beta);
    case Function::leaky_relu:
      return where_less(z, zero, alpha * z, z);
    case Function::thresholded_relu:
      return where_positive(z - alpha, z);
    case Function::scaled_tanh:
      return alpha * tanh(beta * z);
    case Function::hard_sigmoid:
      return max_or_nan(min_or_nan(madd(alpha, z, beta), one), zero);
    case Function::elu: {
      const V t = tanh(z * V::broadcast(T(0.5)));  // e^z - 1 = 2 t / (1 - t), which does not cancel
      return where_less(z, zero, alpha * (t + t) / (one - t), z);
    }
    case Function::softsign:
      return z / (one + abs(z));
    case Function::softplus:
      return softplus(z);
  }
  return z;
}

// dL/dz of a chosen function, of z and its value y.
template <class T>
[[gnu::noinline]] Simd<T> chosen_gradient(const GateFunction& function, Simd<T> d, Simd<T> z,
                                          Simd<T> y) {
  using V = Simd<T>;
  const V alpha = V::broadcast(static_cast<T>(function.alpha));
  const V beta = V::broadcast(static_cast<T>(function.beta));
  const V zero = V::zero(), one = V::broadcast(1);
  switch (function.kind) {
    case Function::sigmoid:
      return Logistic::gradient(d, z, y);
    case Function::tanh:
      return Tanh::gradient(d, z, y);
    case Function::relu:
      return Relu::gradient(d, z, y);
    case Function::affine:
      return d * alpha;
    case Function::leaky_relu:
      return where_less(zero, z, d, d * alpha);
    case Function::thresholded_relu:
      return where_positive(z - alpha, d);
    case Function::scaled_tanh:
      return alpha * beta * Tanh::gradient(d, z, tanh(beta * z));
    case Function::hard_sigmoid:
      return where_less(zero, y, where_less(y, one, d * alpha, zero), zero);
    case Function::elu:
      return where_less(z, zero, d * (y + alpha), d);
    case Function::softsign: {
      const V s = one / (one + abs(z));
      return d * s * s;
    }
    case Function::softplus:
      return d * logistic(z);
  }
  return d;
}

struct ChosenFunction {
  const GateFunction& function;
  double clip;

  template <class V>
  static V keep(V z) {
    return z;
  }
  template <class T>
  Simd<T> value(Simd<T> kept) const {
    const auto bound = Simd<T>::broadcast(static_cast<T>(clip));
    return chosen_value(function, max_or_nan(min_or_nan(kept, bound), Simd<T>::zero() - bound));
  }
  template <class T>
  Simd<T> gradient(Simd<T> d, Simd<T> kept, Simd<T> y) const {
    const auto bound = Simd<T>::broadcast(static_cast<T>(clip));
    return where_less(bound, abs(kept), Simd<T>::zero(), chosen_gradient(function, d, kept, y));
  }
};

struct Chosen {
  explicit Chosen(const CellChoice* choice)
      : f{choice->functions[0], choice->clip},
        g{choice->functions[1], choice->clip},
        h{choice->functions[2], std::numeric_limits<double>::infinity()} {}
  ChosenFunction f, g, h;
};

}  // namespace rnncore
