// Optimizer steps: plain elementwise loops that the compiler vectorises.
#include "nn/optim.hpp"

#include <cmath>

#include "nn/reduce.hpp"

namespace rnncore {
namespace {

constexpr Index grain = 1024;  // elements; whole cache lines for each thread

// f(range) on every thread's share of [0, size); `cost` = operations per element.
template <class F>
void elementwise(Index size, Index cost, F&& f) {
  parallel_parts(threads_for(size * cost, ceil_div(size, grain)),
                 [&](const Worker& worker) { f(worker.share(size, grain)); });
}

// Torch's form of momentum (torch.optim.SGD): v = momentum v + g, p -= lr v; Nesterov's
// p -= lr (g + momentum v). (Sutskever et al., 2013, keep lr inside v instead.)
template <class T>
void sgd_range(const SgdArgs<T>& a, Range range) {
  T* __restrict params = a.params + range.begin;
  const T* __restrict grads = a.grads + range.begin;
  const T lr = static_cast<T>(a.lr), momentum = static_cast<T>(a.momentum);
  const T decay = static_cast<T>(a.weight_decay);
  const bool decays = decay != 0, nesterov = a.nesterov;
  if (a.velocity == nullptr) {
    for (Index i = 0; i < range.size(); ++i) {
      params[i] -= lr * (decays ? grads[i] + decay * params[i] : grads[i]);
    }
    return;
  }
  T* __restrict velocity = a.velocity + range.begin;
  for (Index i = 0; i < range.size(); ++i) {
    const T g = decays ? grads[i] + decay * params[i] : grads[i];
    const T v = momentum * velocity[i] + g;
    velocity[i] = v;
    params[i] -= lr * (nesterov ? g + momentum * v : v);
  }
}

// Kingma and Ba, Adam: a method for stochastic optimization, 2015, algorithm 1; with `decoupled`
// Loshchilov and Hutter, Decoupled weight decay regularization, 2019, algorithm 2. The order of
// operations is that of torch.optim.Adam and AdamW.
template <class T>
void adam_range(const AdamArgs<T>& a, Range range) {
  T* __restrict params = a.params + range.begin;
  const T* __restrict grads = a.grads + range.begin;
  T* __restrict first = a.m + range.begin;
  T* __restrict second = a.v + range.begin;
  const double steps = static_cast<double>(a.step);
  const T step_size = static_cast<T>(a.lr / (1 - std::pow(a.beta1, steps)));
  const T correction2 = static_cast<T>(std::sqrt(1 - std::pow(a.beta2, steps)));
  const T eps = static_cast<T>(a.eps), decay = static_cast<T>(a.weight_decay);
  const T keep = static_cast<T>(a.decoupled ? 1 - a.lr * a.weight_decay : 1.0);
  const bool decays = !a.decoupled && decay != 0;
  const T beta2 = static_cast<T>(a.beta2), new2 = static_cast<T>(1 - a.beta2);
  // m moves towards g by new1, reckoned from the nearer of the two (so beta1 = 0 gives g itself).
  const T new1 = static_cast<T>(1 - a.beta1), old1 = T{1} - new1;
  const bool from_m = new1 < T{0.5};
  for (Index i = 0; i < range.size(); ++i) {
    const T p = keep * params[i];
    const T g = decays ? grads[i] + decay * p : grads[i];
    const T m = from_m ? first[i] + new1 * (g - first[i]) : g - old1 * (g - first[i]);
    const T v = beta2 * second[i] + new2 * g * g;
    first[i] = m;
    second[i] = v;
    params[i] = p - step_size * (m / (std::sqrt(v) / correction2 + eps));
  }
}

}  // namespace

template <class T>
void sgd_step(const SgdArgs<T>& args) {
  elementwise(args.size, 2, [&](Range range) { sgd_range(args, range); });
}

template <class T>
void adam_step(const AdamArgs<T>& args) {
  elementwise(args.size, 8, [&](Range range) { adam_range(args, range); });
}

template <class T>
double squared_norm(const T* values, Index size) {
  return chunked_sum(size, grain, size, [&](Range range) {
    const T* from = values + range.begin;
    return lane_sum(range.size(), [from](Index i) {
      return static_cast<double>(from[i]) * static_cast<double>(from[i]);
    });
  });
}

template <class T>
void scale(T* values, Index size, double factor) {
  const T by = static_cast<T>(factor);
  elementwise(size, 1, [&](Range range) {
    for (Index i = range.begin; i < range.end; ++i) values[i] *= by;
  });
}

template void sgd_step(const SgdArgs<float>&);
template void sgd_step(const SgdArgs<double>&);
template void adam_step(const AdamArgs<float>&);
template void adam_step(const AdamArgs<double>&);
template double squared_norm(const float*, Index);
template double squared_norm(const double*, Index);
template void scale(float*, Index, double);
template void scale(double*, Index, double);

}  // namespace rnncore
