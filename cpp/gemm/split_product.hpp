// The merged float32 products on the tile unit, where the variant has one.
#pragma once

#include "gemm/product.hpp"
#include "gemm/split_tile.hpp"

namespace rnncore {

// Whether a product of this size runs there.
inline bool product_on_tiles(Index m, Index n, Index k) {
  return tiles_pay(m, n, k, 48, 48);
}

// Elements (float) that each worker needs; the most that any precision takes.
Index split_product_scratch(Index m, Index n, Index k);

// As `product`.
void split_product(const Worker& worker, Into into, Op op_a, Matrix<const float> a, Op op_b,
                   Matrix<const float> b, Matrix<float> c, Scratch<float> scratch);

}  // namespace rnncore
