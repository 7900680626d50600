// Bindings of gemm/: the precision of float32 products, the check of the tile unit, and the split
// into bfloat16 for tests.
#include <array>
#include <string>
#include <utility>

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "core/parallel.hpp"
#include "gemm/bf16/split_numbers.hpp"
#include "gemm/bf16/tile_check.hpp"
#include "gemm/precision.hpp"

namespace rnncore {
namespace {

constexpr std::array<std::pair<const char*, Precision>, 3> precisions{
    {{"highest", Precision::highest}, {"high", Precision::high}, {"medium", Precision::medium}}};

void bind_set_precision(const std::string& precision) {
  std::string known;
  for (const auto& [name, value] : precisions) {
    if (precision == name) return set_float32_matmul_precision(value);
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw py::value_error("precision: expected one of " + known + ", got '" + precision + "'");
}

std::string bind_precision() {
  for (const auto& [name, value] : precisions) {
    if (value == float32_matmul_precision()) return name;
  }
  return {};
}

py::object bind_tile_unit_fault() {
  const auto fault = tile_unit_fault();
  return fault ? py::object(py::str(*fault)) : py::none();
}

void bind_split_bfloat16(const py::object& x, const py::object& parts) {
  const Index count = dimension("x", x, 1, 0), rows = dimension("parts", parts, 2, 0);
  if (rows < 1 || rows > 3) {
    throw py::value_error("parts: expected 1 to 3 rows, got " + std::to_string(rows));
  }
  ArrayCheck check;
  const float* from = check.contiguous<float>("x", x, {count});
  const Matrix<float> to = check.out_matrix<float>("parts", parts, {rows, count});
  check.no_overlap();
  const FlushDenormals flush;
  split_numbers(from, count, to);
}

}  // namespace

void bind_gemm(py::module_& m) {
  using py::arg;
  m.def("float32_matmul_precision", &bind_precision);
  m.def("set_float32_matmul_precision", &bind_set_precision, arg("precision"));
  m.def("tile_unit_fault", &bind_tile_unit_fault);
  m.def("split_bfloat16", &bind_split_bfloat16, arg("x"), arg("parts"));
}

}  // namespace rnncore
