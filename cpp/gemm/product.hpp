// The merged products: C = op(A) op(B) or C += op(A) op(B), all row-major.
#pragma once

#include "core/parallel.hpp"
#include "core/types.hpp"
#include "gemm/precision.hpp"

namespace rnncore {

enum class Op { none, transpose };
enum class Into { assign, accumulate };

// A sum over k is cut into blocks that are added up in their order.
inline constexpr Index depth_block = 256;

// Scratch memory of a team, `each` elements for every worker; and what the call that planned it
// fixes for all of its products: the precision, and the rows of the problem that C's rows are a
// chunk of (the kernel is chosen by the problem, so that the bits do not depend on the chunks).
template <class T>
struct Scratch {
  T* data = nullptr;
  Index each = 0;
  Precision precision = float32_matmul_precision();
  Index problem_rows = 0;
};

// Elements that each worker needs for an M x N product of depth K.
template <class T>
Index product_scratch(Index m, Index n, Index k);

// Called by every worker of a team; each computes its share of C, without a barrier. A sum runs
// over blocks of k in their order, whatever the share: the bits do not depend on the number of
// threads. Op::transpose of both operands is not offered.
template <class T>
void product(const Worker& worker, Into into, Op op_a, Matrix<const T> a, Op op_b,
             Matrix<const T> b, Matrix<T> c, Scratch<T> scratch);

// C = A B^T for few rows of A: B is read as it is, no scratch memory.
template <class T>
void product_in_place(const Worker& worker, Matrix<const T> a, Matrix<const T> b, Matrix<T> c);

}  // namespace rnncore
