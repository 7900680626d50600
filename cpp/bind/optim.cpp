// Bindings of the optimizer steps and of the gradient norm.
#include "nn/optim.hpp"

#include "bind/arrays.hpp"
#include "bind/bind.hpp"

namespace rnncore {
namespace {

using Object = py::object;

void bind_sgd_step(const Object& params, const Object& grads, const Object& velocity, double lr,
                   double momentum, bool nesterov, double weight_decay) {
  by_dtype("params", params, [&]<class T>(T) {
    const Index n = dimension("params", params, 1, 0);
    ArrayCheck check;
    const SgdArgs<T> args{.size = n,
                          .params = check.out_contiguous<T>("params", params, {n}),
                          .grads = check.contiguous<T>("grads", grads, {n}),
                          .velocity = check.optional_out_contiguous<T>("velocity", velocity, {n}),
                          .lr = lr,
                          .momentum = momentum,
                          .nesterov = nesterov,
                          .weight_decay = weight_decay};
    check.no_overlap();
    const Released release;
    sgd_step(args);
  });
}

void bind_adam_step(const Object& params, const Object& grads, const Object& m, const Object& v,
                    Index step, double lr, double beta1, double beta2, double eps,
                    double weight_decay, bool decoupled) {
  if (step < 1) {
    throw py::value_error("step: expected an integer >= 1, got " + std::to_string(step));
  }
  by_dtype("params", params, [&]<class T>(T) {
    const Index n = dimension("params", params, 1, 0);
    ArrayCheck check;
    const AdamArgs<T> args{.size = n,
                           .params = check.out_contiguous<T>("params", params, {n}),
                           .grads = check.contiguous<T>("grads", grads, {n}),
                           .m = check.out_contiguous<T>("m", m, {n}),
                           .v = check.out_contiguous<T>("v", v, {n}),
                           .step = step,
                           .lr = lr,
                           .beta1 = beta1,
                           .beta2 = beta2,
                           .eps = eps,
                           .weight_decay = weight_decay,
                           .decoupled = decoupled};
    check.no_overlap();
    const Released release;
    adam_step(args);
  });
}

double bind_squared_norm(const Object& grads) {
  return by_dtype("grads", grads, [&]<class T>(T) {
    const Index n = dimension("grads", grads, 1, 0);
    ArrayCheck check;
    const T* values = check.contiguous<T>("grads", grads, {n});
    const Released release;
    return squared_norm(values, n);
  });
}

void bind_scale(const Object& grads, double factor) {
  by_dtype("grads", grads, [&]<class T>(T) {
    const Index n = dimension("grads", grads, 1, 0);
    ArrayCheck check;
    T* values = check.out_contiguous<T>("grads", grads, {n});
    const Released release;
    scale(values, n, factor);
  });
}

}  // namespace

void bind_optim(py::module_& m) {
  using py::arg;
  m.def("sgd_step", &bind_sgd_step, arg("params"), arg("grads"), arg("velocity"), arg("lr"),
        arg("momentum"), arg("nesterov"), arg("weight_decay"));
  m.def("adam_step", &bind_adam_step, arg("params"), arg("grads"), arg("m"), arg("v"), arg("step"),
        arg("lr"), arg("beta1"), arg("beta2"), arg("eps"), arg("weight_decay"), arg("decoupled"));
  m.def("squared_norm", &bind_squared_norm, arg("grads"));
  m.def("scale", &bind_scale, arg("grads"), arg("factor"));
}

}  // namespace rnncore
