// CPUID and XGETBV tests for the variants; compiled without any -march flag.
#include "../core/cpu.hpp"

#include <cstdint>
#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rnncore {
namespace {

#if defined(__x86_64__)

struct Cpuid {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  Cpuid r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool all(std::uint32_t reg, std::initializer_list<int> bits) {
  for (int bit : bits) {
    if (!((reg >> bit) & 1u)) return false;
  }
  return true;
}

// XCR0: which register states the operating system saves; 0 where it does not use XSAVE.
std::uint64_t xcr0() {
  if (!all(cpuid(1).ecx, {27})) return 0;  // OSXSAVE
  std::uint32_t lo = 0, hi = 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (static_cast<std::uint64_t>(hi) << 32) | lo;
}

bool saves(std::uint64_t mask) {
  return (xcr0() & mask) == mask;
}

// Linux hands out the 8 KiB tile state only to a process that asks for it, once.
bool amx_permission() {
#if defined(__linux__)
  constexpr long request_permission = 0x1023, xtile_data = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, request_permission, xtile_data) == 0;
#else
  return false;
#endif
}

// The sets are the x86-64 psABI's micro-architecture levels v2, v3, v4.
bool runs_base() {  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
  return all(cpuid(1).ecx, {0, 9, 13, 19, 20, 23}) && all(cpuid(0x80000001).ecx, {0});
}

bool runs_avx2() {  // FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT; XMM and YMM state
  return runs_base() && all(cpuid(1).ecx, {12, 22, 28, 29}) && all(cpuid(7).ebx, {3, 5, 8}) &&
         all(cpuid(0x80000001).ecx, {5}) && saves(0x6);
}

bool runs_avx512() {  // F, DQ, CD, BW, VL; opmask and ZMM state
  return runs_avx2() && all(cpuid(7).ebx, {16, 17, 28, 30, 31}) && saves(0xe6);
}

bool runs_amx() {  // AMX-BF16, AMX-TILE, AVX512-BF16; tile configuration and data state
  return runs_avx512() && all(cpuid(7).edx, {22, 24}) && all(cpuid(7, 1).eax, {5}) &&
         saves(0x600e6) && amx_permission();
}

#else

bool runs_base() {
  return true;
}
bool runs_avx2() {
  return false;
}
bool runs_avx512() {
  return false;
}
bool runs_amx() {
  return false;
}

#endif

}  // namespace

std::vector<IsaSupport> isa_support() {
  return {{"amx_emulated", runs_avx512()},  // software tiles: slow, so never the choice
          {"base", runs_base()},
          {"avx2", runs_avx2()},
          {"avx512", runs_avx512()},
          {"amx", runs_amx()}};
}

}  // namespace rnncore
