// The merged products: C = op(A) op(B) or C += op(A) op(B), all row-major.
#pragma once

#include "core/parallel.hpp"
#include "core/types.hpp"

namespace rnncore {

enum class Op { none, transpose };
enum class Into { assign, accumulate };

// Elements of scratch memory that each worker of a product needs.
inline constexpr Index product_scratch = 80 * 1024;

// Called by every worker of a team; each computes its share of C, without a barrier. `scratch`
// holds `product_scratch` elements for each worker. A sum runs over blocks of k in their order,
// whatever the share: the bits do not depend on the number of threads. Op::transpose of both is not
// offered.
template <class T>
void product(const Worker& worker, Into into, Op op_a, Matrix<const T> a, Op op_b,
             Matrix<const T> b, Matrix<T> c, T* scratch);

}  // namespace rnncore
