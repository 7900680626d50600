// Whether the processor computes with subnormal numbers.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace rnncore {

// While in scope subnormals become zero (they slow some CPUs a hundredfold), or with `flush` false
// stay as they are; then the floating-point state of before is back.
template <bool flush>
class [[maybe_unused]] Denormals {
 public:
#if defined(__SSE2__)
  Denormals() : saved_(_mm_getcsr()) {
    constexpr unsigned both = 0x8040;  // FTZ for results, DAZ for operands
    _mm_setcsr(flush ? saved_ | both : saved_ & ~both);
  }
  Denormals(const Denormals&) = delete;
  Denormals& operator=(const Denormals&) = delete;
  ~Denormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

using FlushDenormals = Denormals<true>;
using KeepDenormals = Denormals<false>;  // a user's code, in the middle of a kernel

}  // namespace rnncore
