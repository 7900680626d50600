// The merged products: C = op(A) op(B) or C += op(A) op(B), all row-major.
#pragma once

#include "core/parallel.hpp"
#include "core/types.hpp"

namespace rnncore {

enum class Op { none, transpose };
enum class Into { assign, accumulate };

// Called by every worker of a team; each computes its share of C's blocks, without a barrier. The
// blocks follow from the sizes alone, so the bits do not depend on the number of threads.
template <class T>
void product(const Worker& worker, Into into, Op op_a, Matrix<const T> a, Op op_b,
             Matrix<const T> b, Matrix<T> c);

}  // namespace rnncore
