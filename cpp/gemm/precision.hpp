// How exact float32 products are where the tile unit computes them; a setting of the process.
#pragma once

namespace rnncore {

// The names are torch's. highest: float32's own accuracy; high: 16 bits of each factor; medium: 8.
enum class Precision { highest, high, medium };

Precision float32_matmul_precision();
void set_float32_matmul_precision(Precision precision);

}  // namespace rnncore
