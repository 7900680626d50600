// The merged float32 products on the tile unit, where the variant has one.
#pragma once

#include "gemm/blocked_product.hpp"

namespace rnncore {

// Elements (float) that each worker needs for N columns; the most that any precision takes.
Index split_product_memory(Index n);

// As `product`.
void split_product(const Worker& worker, Into into, const Operands<float>& operands,
                   Matrix<float> c, const ProductPlan<float>& plan);

}  // namespace rnncore
