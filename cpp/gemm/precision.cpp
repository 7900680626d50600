// The precision setting: one atomic, read once per call.
#include "gemm/precision.hpp"

#include <atomic>

namespace rnncore {
namespace {

std::atomic<Precision> setting{Precision::highest};

}  // namespace

Precision float32_matmul_precision() {
  return setting.load(std::memory_order_relaxed);
}

void set_float32_matmul_precision(Precision precision) {
  setting.store(precision, std::memory_order_relaxed);
}

}  // namespace rnncore
