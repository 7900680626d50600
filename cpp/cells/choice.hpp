// What may be chosen for a cell at run time: the functions of its gates, and a bound of what they
// see.
#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <string_view>

namespace rnncore {

// The functions that ONNX knows, with its alpha and beta; docs/math/functions.md has the formulas.
enum class Function {
  sigmoid,
  tanh,
  relu,
  affine,
  leaky_relu,
  thresholded_relu,
  scaled_tanh,
  hard_sigmoid,
  elu,
  softsign,
  softplus
};

// Their names, in the same order.
inline constexpr std::array<std::string_view, 11> function_names = {
    "sigmoid",     "tanh",         "relu", "affine",   "leaky_relu", "thresholded_relu",
    "scaled_tanh", "hard_sigmoid", "elu",  "softsign", "softplus"};

constexpr std::string_view name_of(Function kind) {
  return function_names[static_cast<std::size_t>(kind)];
}

struct GateFunction {
  Function kind = Function::sigmoid;
  double alpha = 0, beta = 0;
};

// The most of any cell.
inline constexpr std::size_t max_functions = 3;

// ONNX's f, g and h, as many as the cell has. A pre-activation is bounded to [-clip, clip] before
// its function; what h sees, the state c, is not.
struct CellChoice {
  std::array<GateFunction, max_functions> functions{};
  double clip = std::numeric_limits<double>::infinity();
};

}  // namespace rnncore
