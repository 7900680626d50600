// The split into bfloat16 by itself, for tests.
#pragma once

#include "core/types.hpp"

namespace rnncore {

// parts[p][i]: part p of x[i], in 1 to 3 rows of `count` numbers; as the kernels split them.
void split_numbers(const float* x, Index count, Matrix<float> parts);

}  // namespace rnncore
