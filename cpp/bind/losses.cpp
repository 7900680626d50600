// Bindings of the losses.
#include "nn/losses.hpp"

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "nn/ctc.hpp"
#include "nn/likelihoods.hpp"

namespace rnncore {
namespace {

using Object = py::object;

// What counts, as every loss takes it. A mask has one flag per row, or where `cols` is given one
// per element too.
template <class T>
Counted<T> counted_of(ArrayCheck& check, const Object& mask, const Object& weights, Index rows,
                      Index cols = any_size) {
  Counted<T> counted;
  const bool of_elements = cols != any_size && py::isinstance<py::array>(mask) &&
                           py::reinterpret_borrow<py::array>(mask).ndim() == 2;
  const Shape shape = of_elements ? Shape{rows, cols} : Shape{rows};
  (of_elements ? counted.elements : counted.rows) = check.optional_flags("mask", mask, shape);
  counted.weights = check.optional_contiguous<T>("weights", weights, {rows});
  return counted;
}

// A loss of (N, O) arrays: loss(check, first, target, counted, gradient).
template <class Loss>
double elementwise_loss(const char* name, const Object& values, const Object& target,
                        const Object& mask, const Object& weights, const char* gradient_name,
                        const Object& gradient, Loss&& loss) {
  return by_dtype(name, values, [&]<class T>(T) {
    const Index N = dimension(name, values, 2, 0), O = dimension(name, values, 2, 1);
    ArrayCheck check;
    const auto from = check.matrix<T>(name, values, {N, O});
    const auto wanted = check.matrix<T>("target", target, {N, O});
    const auto counted = counted_of<T>(check, mask, weights, N, O);
    const auto out = check.out_matrix<T>(gradient_name, gradient, {N, O});
    return loss(check, from, wanted, counted, out);
  });
}

double bind_mean_squared_error(const Object& y, const Object& target, const Object& mask,
                               const Object& weights, const Object& dy) {
  return elementwise_loss("y", y, target, mask, weights, "dy", dy,
                          [](auto& check, auto from, auto to, const auto& counted, auto out) {
                            check.no_overlap();
                            const Released release;
                            return mean_squared_error(from, to, counted, out);
                          });
}

double bind_mean_absolute_error(const Object& y, const Object& target, const Object& mask,
                                const Object& weights, const Object& dy) {
  return elementwise_loss("y", y, target, mask, weights, "dy", dy,
                          [](auto& check, auto from, auto to, const auto& counted, auto out) {
                            check.no_overlap();
                            const Released release;
                            return mean_absolute_error(from, to, counted, out);
                          });
}

double bind_huber(const Object& y, const Object& target, const Object& mask, const Object& weights,
                  double delta, const Object& dy) {
  return elementwise_loss("y", y, target, mask, weights, "dy", dy,
                          [=](auto& check, auto from, auto to, const auto& counted, auto out) {
                            check.no_overlap();
                            const Released release;
                            return huber(from, to, counted, delta, out);
                          });
}

double bind_quantile(const Object& y, const Object& target, const Object& mask,
                     const Object& weights, const Object& levels, const Object& dy) {
  return elementwise_loss("y", y, target, mask, weights, "dy", dy,
                          [&]<class T>(ArrayCheck& check, Matrix<const T> from, Matrix<const T> to,
                                       const Counted<T>& counted, Matrix<T> out) {
                            const T* each = check.contiguous<T>("levels", levels, {from.cols});
                            check.no_overlap();
                            const Released release;
                            return quantile(from, to, counted, each, out);
                          });
}

double bind_binary_cross_entropy(const Object& logits, const Object& target, const Object& mask,
                                 const Object& weights, const Object& dlogits) {
  return elementwise_loss("logits", logits, target, mask, weights, "dlogits", dlogits,
                          [](auto& check, auto from, auto to, const auto& counted, auto out) {
                            check.no_overlap();
                            const Released release;
                            return binary_cross_entropy(from, to, counted, out);
                          });
}

// `ignore_index` in place of all labels that do not count: the mask may change after this.
void settle_labels(std::vector<Index>& labels, Mask mask, Index classes, Index ignore_index) {
  for (std::size_t n = 0; n < labels.size(); ++n) {
    if (mask != nullptr && mask[n] == 0) labels[n] = ignore_index;
    if (labels[n] == ignore_index || (labels[n] >= 0 && labels[n] < classes)) continue;
    throw py::value_error("labels: expected integers in [0, " + std::to_string(classes) +
                          ") or ignore_index " + std::to_string(ignore_index) + ", got " +
                          std::to_string(labels[n]) + " at index " + std::to_string(n));
  }
}

double bind_softmax_cross_entropy(const Object& logits, const Object& labels, const Object& mask,
                                  const Object& weights, Index ignore_index,
                                  const Object& dlogits) {
  return by_dtype("logits", logits, [&]<class T>(T) {
    const Index N = dimension("logits", logits, 2, 0), C = dimension("logits", logits, 2, 1);
    ArrayCheck check;
    const auto z = check.matrix<T>("logits", logits, {N, C});
    auto wanted = check.integers("labels", labels, N);
    const auto counted = counted_of<T>(check, mask, weights, N);
    const auto out = check.out_matrix<T>("dlogits", dlogits, {N, C});
    check.no_overlap();
    settle_labels(wanted, counted.rows, C, ignore_index);
    const Released release;
    return softmax_cross_entropy(z, wanted.data(), counted, ignore_index, out);
  });
}

// A likelihood of targets (N, O) with P outputs for each: loss(y, target, counted, dy).
template <class Loss>
double likelihood(Index P, const Object& y, const Object& target, const Object& mask,
                  const Object& weights, const Object& dy, Loss&& loss) {
  return by_dtype("y", y, [&]<class T>(T) {
    const Index N = dimension("target", target, 2, 0), O = dimension("target", target, 2, 1);
    const Index outputs = checked_mul(O, P);
    ArrayCheck check;
    const auto from = check.matrix<T>("y", y, {N, outputs});
    const auto wanted = check.matrix<T>("target", target, {N, O});
    const auto counted = counted_of<T>(check, mask, weights, N, O);
    const auto out = check.out_matrix<T>("dy", dy, {N, outputs});
    check.no_overlap();
    const Released release;
    return loss(from, wanted, counted, out);
  });
}

double bind_gaussian(const Object& y, const Object& target, const Object& mask,
                     const Object& weights, double least_variance, const Object& dy) {
  return likelihood(
      2, y, target, mask, weights, dy, [=](auto from, auto to, const auto& counted, auto out) {
        return gaussian_negative_log_likelihood(from, to, counted, least_variance, out);
      });
}

double bind_student_t(const Object& y, const Object& target, const Object& mask,
                      const Object& weights, double least_variance, const Object& dy) {
  return likelihood(
      3, y, target, mask, weights, dy, [=](auto from, auto to, const auto& counted, auto out) {
        return student_t_negative_log_likelihood(from, to, counted, least_variance, out);
      });
}

// Copied: another thread may change the array while the kernel runs.
std::vector<Index> copied_labels(const Index* labels, const std::vector<Index>& lengths, Index S,
                                 Index V, Index blank) {
  std::vector<Index> copy(labels, labels + static_cast<Index>(lengths.size()) * S);
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    for (Index s = 0; s < lengths[b]; ++s) {
      const Index label = copy[b * static_cast<std::size_t>(S) + static_cast<std::size_t>(s)];
      if (label >= 0 && label < V && label != blank) continue;
      throw py::value_error("labels: expected integers in [0, " + std::to_string(V) +
                            ") other than blank " + std::to_string(blank) + ", got " +
                            std::to_string(label) + " at index (" + std::to_string(b) + ", " +
                            std::to_string(s) + ")");
    }
  }
  return copy;
}

double bind_ctc(const Object& logits, const Object& labels, const Object& lengths,
                const Object& label_lengths, Index blank, const Object& mask, const Object& weights,
                const Object& dlogits) {
  return by_dtype("logits", logits, [&]<class T>(T) {
    const Index steps = dimension("logits", logits, 3, 0), B = dimension("logits", logits, 3, 1);
    const Index V = dimension("logits", logits, 3, 2), S = dimension("labels", labels, 2, 1);
    if (blank < 0 || blank >= V) {
      throw py::value_error("blank: expected an integer in [0, " + std::to_string(V) + "), got " +
                            std::to_string(blank));
    }
    ArrayCheck check;
    const auto z = check.sequence<T>("logits", logits, {steps, B, V});
    const Index* given = check.contiguous<Index>("labels", labels, {B, S});
    const auto ends = check.integers("lengths", lengths, B);
    expect_up_to(steps, "lengths", ends);
    const auto label_ends = check.integers("label_lengths", label_lengths, B);
    expect_up_to(S, "label_lengths", label_ends);
    const auto symbols = copied_labels(given, label_ends, S, V, blank);
    const CtcArgs<T> args{.logits = z,
                          .labels = {symbols.data(), B, S, S},
                          .lengths = ends.data(),
                          .label_lengths = label_ends.data(),
                          .blank = blank,
                          .counted = counted_of<T>(check, mask, weights, B),
                          .dlogits = check.out_sequence<T>("dlogits", dlogits, {steps, B, V})};
    check.no_overlap();
    const Released release;
    return ctc(args);
  });
}

}  // namespace

void bind_losses(py::module_& m) {
  using py::arg;
  m.def("mean_squared_error", &bind_mean_squared_error, arg("y"), arg("target"), arg("mask"),
        arg("weights"), arg("dy"));
  m.def("mean_absolute_error", &bind_mean_absolute_error, arg("y"), arg("target"), arg("mask"),
        arg("weights"), arg("dy"));
  m.def("huber", &bind_huber, arg("y"), arg("target"), arg("mask"), arg("weights"), arg("delta"),
        arg("dy"));
  m.def("quantile", &bind_quantile, arg("y"), arg("target"), arg("mask"), arg("weights"),
        arg("levels"), arg("dy"));
  m.def("binary_cross_entropy", &bind_binary_cross_entropy, arg("logits"), arg("target"),
        arg("mask"), arg("weights"), arg("dlogits"));
  m.def("softmax_cross_entropy", &bind_softmax_cross_entropy, arg("logits"), arg("labels"),
        arg("mask"), arg("weights"), arg("ignore_index"), arg("dlogits"));
  m.def("gaussian_negative_log_likelihood", &bind_gaussian, arg("y"), arg("target"), arg("mask"),
        arg("weights"), arg("least_variance"), arg("dy"));
  m.def("student_t_negative_log_likelihood", &bind_student_t, arg("y"), arg("target"), arg("mask"),
        arg("weights"), arg("least_variance"), arg("dy"));
  m.def("ctc", &bind_ctc, arg("logits"), arg("labels"), arg("lengths"), arg("label_lengths"),
        arg("blank"), arg("mask"), arg("weights"), arg("dlogits"));
}

}  // namespace rnncore
