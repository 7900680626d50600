// Bindings of nn/: linear, embedding and masks of dropout.
#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "nn/dropout.hpp"
#include "nn/embedding.hpp"
#include "nn/linear.hpp"

namespace rnncore {
namespace {

using Object = py::object;

void bind_linear_forward(const Object& x, const Object& weight, const Object& bias, const Object& y,
                         bool batch_invariant) {
  by_dtype("x", x, [&]<class T>(T) {
    const Index N = dimension("x", x, 2, 0), I = dimension("x", x, 2, 1);
    const Index O = dimension("weight", weight, 2, 0);
    ArrayCheck check;
    const LinearForwardArgs<T> args{.x = check.matrix<T>("x", x, {N, I}),
                                    .weight = check.matrix<T>("weight", weight, {O, I}),
                                    .bias = check.optional_contiguous<T>("bias", bias, {O}),
                                    .y = check.out_matrix<T>("y", y, {N, O}),
                                    .batch_invariant = batch_invariant};
    check.no_overlap();
    const Released release;
    linear_forward(args);
  });
}

void bind_linear_backward(const Object& x, const Object& weight, const Object& dy, const Object& dx,
                          const Object& dweight, const Object& dbias) {
  by_dtype("x", x, [&]<class T>(T) {
    const Index N = dimension("x", x, 2, 0), I = dimension("x", x, 2, 1);
    const Index O = dimension("weight", weight, 2, 0);
    ArrayCheck check;
    const LinearBackwardArgs<T> args{
        .x = check.matrix<T>("x", x, {N, I}),
        .weight = check.matrix<T>("weight", weight, {O, I}),
        .dy = check.matrix<T>("dy", dy, {N, O}),
        .dx = check.optional_out_matrix<T>("dx", dx, {N, I}),
        .dweight = check.out_matrix<T>("dweight", dweight, {O, I}),
        .dbias = check.optional_out_contiguous<T>("dbias", dbias, {O})};
    check.no_overlap();
    const Released release;
    linear_backward(args);
  });
}

void check_indices(const Index* indices, Index count, Index rows) {
  const Index bad = first_out_of_range(indices, count, rows);
  if (bad < 0) return;
  throw py::index_error("indices: expected integers in [0, " + std::to_string(rows) + "), got " +
                        std::to_string(indices[bad]) + " at index " + std::to_string(bad));
}

// Copying many indices would take longer than to look again.
void expect_unchanged(bool in_range) {
  if (in_range) return;
  throw py::index_error("indices: expected an array that no other thread changes during the call");
}

void bind_embedding_forward(const Object& indices, const Object& weight, const Object& y) {
  by_dtype("weight", weight, [&]<class T>(T) {
    const Index N = dimension("indices", indices, 1, 0);
    const Index V = dimension("weight", weight, 2, 0), D = dimension("weight", weight, 2, 1);
    ArrayCheck check;
    const Index* picked = check.contiguous<Index>("indices", indices, {N});
    const auto table = check.matrix<T>("weight", weight, {V, D});
    const auto out = check.out_matrix<T>("y", y, {N, D});
    check.no_overlap();
    check_indices(picked, N, V);
    const Released release;
    expect_unchanged(embedding_forward(picked, table, out));
  });
}

void bind_embedding_backward(const Object& indices, const Object& dy, const Object& dweight) {
  by_dtype("dy", dy, [&]<class T>(T) {
    const Index N = dimension("indices", indices, 1, 0);
    const Index V = dimension("dweight", dweight, 2, 0), D = dimension("dweight", dweight, 2, 1);
    ArrayCheck check;
    const Index* picked = check.contiguous<Index>("indices", indices, {N});
    const auto gradient = check.matrix<T>("dy", dy, {N, D});
    const auto table = check.out_matrix<T>("dweight", dweight, {V, D});
    check.no_overlap();
    check_indices(picked, N, V);
    const Released release;
    expect_unchanged(embedding_backward(picked, gradient, table));
  });
}

void bind_dropout_mask(const Object& mask, double rate, const Object& seed, const Object& purpose) {
  by_dtype("mask", mask, [&]<class T>(T) {
    ArrayCheck check;
    const Index rows = dimension("mask", mask, 2, 0), columns = dimension("mask", mask, 2, 1);
    const auto out = check.out_matrix<T>("mask", mask, {rows, columns});
    check_rate("rate", rate);
    const std::uint64_t key = seed_of(seed);
    const std::uint32_t own = purpose_of(purpose);
    const Released release;
    dropout_mask(out, rate, key, own);
  });
}

// `to`: None for x in place.
void bind_apply_mask(const Object& x, const Object& mask, const Object& to) {
  by_dtype("x", x, [&]<class T>(T) {
    const Index steps = dimension("x", x, 3, 0), batch = dimension("x", x, 3, 1);
    const Index features = dimension("x", x, 3, 2);
    const Shape shape{steps, batch, features};
    ArrayCheck check;
    const auto factors = check.matrix<T>("mask", mask, {batch, features});
    const bool in_place = to.is_none();
    const auto out = check.out_sequence<T>(in_place ? "x" : "to", in_place ? x : to, shape);
    const Sequence<const T> from = in_place
                                       ? Sequence<const T>{out.data,     out.steps,    out.batch,
                                                           out.features, out.stride_t, out.stride_b}
                                       : check.sequence<T>("x", x, shape);
    check.no_overlap();
    const Released release;
    apply_mask(from, factors, out);
  });
}

}  // namespace

void bind_nn(py::module_& m) {
  using py::arg;
  m.def("linear_forward", &bind_linear_forward, arg("x"), arg("weight"), arg("bias"), arg("y"),
        arg("batch_invariant") = false);
  m.def("linear_backward", &bind_linear_backward, arg("x"), arg("weight"), arg("dy"), arg("dx"),
        arg("dweight"), arg("dbias"));
  m.def("embedding_forward", &bind_embedding_forward, arg("indices"), arg("weight"), arg("y"));
  m.def("embedding_backward", &bind_embedding_backward, arg("indices"), arg("dy"), arg("dweight"));
  m.def("dropout_mask", &bind_dropout_mask, arg("mask"), arg("rate"), arg("seed"), arg("purpose"));
  m.def("apply_mask", &bind_apply_mask, arg("x"), arg("mask"), arg("to"));
}

}  // namespace rnncore
