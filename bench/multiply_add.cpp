// Multiply-adds of values that stay in registers: the rate that no product can exceed.

#include <chrono>
#include <cstdint>

namespace {

typedef float Packet __attribute__((vector_size(PACKET_BYTES)));

// Two units with a latency of four cycles need eight chains; these and two constants fit in the
// sixteen registers of AVX2.
constexpr int chains = 12;

}  // namespace

/// Floating-point operations per second of one thread over `loops` rounds.
extern "C" double multiply_add_rate(std::int64_t loops) {
  const auto first = static_cast<float>(loops);
  const Packet factor = Packet{} + 0.5F;
  const Packet term = Packet{} + 1.0F;
  // Each starts elsewhere, at a value that the compiler does not know: it would compute equal sums
  // once for all, and one that starts at 2 not at all.
  Packet sums[chains];
  for (int chain = 0; chain < chains; ++chain)
    sums[chain] = Packet{} + (first + static_cast<float>(chain));
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t loop = 0; loop < loops; ++loop) {
#pragma GCC unroll 12
    for (Packet& sum : sums) sum = sum * factor + term;
  }
  Packet all = {};
  for (const Packet& sum : sums) all += sum;
  const volatile float used = all[0];  // so that the loop is computed
  static_cast<void>(used);
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start);
  const double operations = 2.0 * chains * (sizeof(Packet) / sizeof(float));
  return operations * static_cast<double>(loops) / seconds.count();
}
