// The softmax of a row, in blocks.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "nn/reduce.hpp"

namespace rnncore {

// Elements are taken in full blocks of this fixed size: Eigen then picks the same instructions for
// an element wherever it lies in memory. (Over a whole row it would treat the ends differently.)
inline constexpr Index block_size = 16;
template <class T>
using Block = Eigen::Array<T, block_size, 1>;

// The next `count` elements; the rest of the block is zero.
template <class T>
Block<T> load(const T* from, Index count) {
  if (count >= block_size) return Eigen::Map<const Block<T>>(from);
  Block<T> result = Block<T>::Zero();
  std::copy_n(from, count, result.data());
  return result;
}

template <class T>
void store(const Block<T>& block, T* to, Index count) {
  std::copy_n(block.data(), std::min(count, block_size), to);
}

// log softmax(z)_i = (z_i - largest) - log_sum, in this order: the first difference is exact for
// the largest, however large.
struct LogSum {
  double largest = 0, log_sum = 0;

  double operator()(double z) const { return (z - largest) - log_sum; }
};

// p = scale * softmax(z); returns what log softmax needs.
template <class T>
LogSum scaled_softmax(const T* z, T scale, T* p, Index cols) {
  // Whether a NaN wins here does not matter: it makes `sum` NaN.
  const T largest = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>(z, cols).maxCoeff();
  for (Index i = 0; i < cols; i += block_size) {
    store<T>((load(z + i, cols - i) - largest).exp(), p + i, cols - i);
  }
  const double sum = lane_sum(cols, [=](Index i) { return p[i]; });
  const T factor = static_cast<T>(static_cast<double>(scale) / sum);
  for (Index i = 0; i < cols; ++i) p[i] *= factor;
  return {static_cast<double>(largest), std::log(sum)};
}

}  // namespace rnncore
