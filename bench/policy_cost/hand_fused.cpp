// An LSTM forward pass written by hand for the LSTM alone: the contender that the library's
// cell-generic driver is measured against. No policies, no shared driver: own packing, own tile,
// the pointwise step written out on the accumulators. Hidden size a multiple of the packet width.
// tanh, logistic and the merged product W x are the library's: the question is what the policy and
// the driver cost.
// UNROLLED 1 keeps the accumulators in registers; 0 rolls the pointwise step over a stack buffer.
//
//   i, f, o = sigma(z_i, z_f, z_o), g = tanh(z_g);  c = f c_prev + i g;  h = o tanh(c)
//   z = W x + R h_prev + b_ih + b_hh
#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "core/activations.hpp"
#include "core/arena.hpp"
#include "gemm/product.hpp"

namespace {

using Index = std::int64_t;
using Packet = Eigen::internal::packet_traits<float>::type;
using Eigen::internal::padd;
using Eigen::internal::ploadu;
using Eigen::internal::pmadd;
using Eigen::internal::pmul;
using Eigen::internal::pset1;
using Eigen::internal::pstoreu;

constexpr int width = Eigen::internal::unpacket_traits<Packet>::size;
#if defined(EIGEN_VECTORIZE_AVX512)
constexpr int max_rows = 6;  // 6 x 4 of 32 registers accumulate
#else
constexpr int max_rows = 3;  // 3 x 4 of 16
#endif

Packet ptanh(Packet z) {
  return rnncore::tanh(rnncore::Simd<float>{z}).v;
}
Packet logistic(Packet z) {
  return rnncore::logistic(rnncore::Simd<float>{z}).v;
}

// The arrays of one time step; z, h_prev, c_prev, h, c and y start at its first row.
struct Step {
  Index H;
  const float *packed, *bias;  // packed[block][k][gate][lane], bias[gate][unit]
  float* z;                    // (B, 4H) in: W x; out: activated gates
  const float *h_prev, *c_prev;
  float *h, *c, *y;
};

// One row, one block of units: the LSTM equations on registers, and the tape.
inline void pointwise(const Step& s, Index row, Index unit, Packet zi, Packet zf, Packet zg,
                      Packet zo) {
  float* const z = s.z + row * 4 * s.H + unit;
  const Index at = row * s.H + unit;
  const Packet i = logistic(zi), f = logistic(zf), g = ptanh(zg), o = logistic(zo);
  const Packet c = pmadd(f, ploadu<Packet>(s.c_prev + at), pmul(i, g));
  const Packet h = pmul(o, ptanh(c));
  pstoreu(z, i);
  pstoreu(z + s.H, f);
  pstoreu(z + 2 * s.H, g);
  pstoreu(z + 3 * s.H, o);
  pstoreu(s.c + at, c);
  pstoreu(s.h + at, h);
  pstoreu(s.y + at, h);
}

// Rows x Blocks x 4 accumulators that start from W x + b, take R h_prev, and go into `pointwise`.
template <int Rows, int Blocks>
void fused_tile(const Step& s, Index row, Index block) {
  const Index H = s.H, panel = H * 4 * width;
  const float* const w = s.packed + block * panel;
  const float* const a = s.h_prev + row * H;
  Packet acc[Rows][Blocks][4];
  for (int b = 0; b < Blocks; ++b) {
    for (int g = 0; g < 4; ++g) {
      const Index column = g * H + (block + b) * width;
      const Packet bias = ploadu<Packet>(s.bias + column);
      for (int r = 0; r < Rows; ++r) {
        acc[r][b][g] = padd(bias, ploadu<Packet>(s.z + (row + r) * 4 * H + column));
      }
    }
  }
#pragma GCC unroll 2
  for (Index k = 0; k < H; ++k) {
    Packet left[Rows];
    for (int r = 0; r < Rows; ++r) left[r] = pset1<Packet>(a[r * H + k]);
    for (int b = 0; b < Blocks; ++b) {
      for (int g = 0; g < 4; ++g) {
        const Packet right = ploadu<Packet>(w + b * panel + (k * 4 + g) * width);
        for (int r = 0; r < Rows; ++r) acc[r][b][g] = pmadd(left[r], right, acc[r][b][g]);
      }
    }
  }
#if UNROLLED
  for (int r = 0; r < Rows; ++r) {
    for (int b = 0; b < Blocks; ++b) {
      const auto& z = acc[r][b];
      pointwise(s, row + r, (block + b) * width, z[0], z[1], z[2], z[3]);
    }
  }
#else
  alignas(64) float sums[Rows * Blocks * 4 * width];
  for (int r = 0; r < Rows; ++r) {
    for (int b = 0; b < Blocks; ++b) {
      for (int g = 0; g < 4; ++g) pstoreu(sums + ((r * Blocks + b) * 4 + g) * width, acc[r][b][g]);
    }
  }
#pragma GCC unroll 1
  for (int i = 0; i < Rows * Blocks; ++i) {
    const float* const z = sums + i * 4 * width;
    pointwise(s, row + i / Blocks, (block + i % Blocks) * width, ploadu<Packet>(z),
              ploadu<Packet>(z + width), ploadu<Packet>(z + 2 * width),
              ploadu<Packet>(z + 3 * width));
  }
#endif
}

void row_tile(const Step& s, Index row, Index rows, Index block) {
  switch (rows) {
    case 1:
      return fused_tile<1, 1>(s, row, block);
    case 2:
      return fused_tile<2, 1>(s, row, block);
    case 3:
      return fused_tile<3, 1>(s, row, block);
#if defined(EIGEN_VECTORIZE_AVX512)
    case 4:
      return fused_tile<4, 1>(s, row, block);
    case 5:
      return fused_tile<5, 1>(s, row, block);
    case 6:
      return fused_tile<6, 1>(s, row, block);
#endif
    default:
      std::abort();
  }
}

void time_step(const Step& s, Index B) {
  const Index blocks = s.H / width;
  if (B == 1) {  // several blocks at once hide the latency of the multiply-adds
    Index block = 0;
#if defined(EIGEN_VECTORIZE_AVX512)
    for (; block + 4 <= blocks; block += 4) fused_tile<1, 4>(s, 0, block);
#endif
    for (; block + 2 <= blocks; block += 2) fused_tile<1, 2>(s, 0, block);
    for (; block < blocks; ++block) fused_tile<1, 1>(s, 0, block);
    return;
  }
  const Index tiles = (B + max_rows - 1) / max_rows;
  for (Index block = 0; block < blocks; ++block) {  // a panel is read from beyond L1 once
    for (Index tile = 0; tile < tiles; ++tile) {
      const Index begin = B * tile / tiles, end = B * (tile + 1) / tiles;
      row_tile(s, begin, end - begin, block);
    }
  }
}

// packed[block][k][gate][lane] = R[gate * H + block * width + lane][k]
void pack(const float* R, Index H, float* packed) {
  for (Index block = 0; block < H / width; ++block, packed += H * 4 * width) {
    for (int g = 0; g < 4; ++g) {
      const float* const from = R + (g * H + block * width) * H;
      for (Index k = 0; k < H; k += width) {
        Eigen::internal::PacketBlock<Packet, width> square;
        for (int i = 0; i < width; ++i) square.packet[i] = ploadu<Packet>(from + i * H + k);
        Eigen::internal::ptranspose(square);
        for (int i = 0; i < width; ++i) {
          pstoreu(packed + ((k + i) * 4 + g) * width, square.packet[i]);
        }
      }
    }
  }
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};

}  // namespace

// Every array is C-contiguous float32.
struct Arrays {
  const float *x, *W, *R, *b_ih, *b_hh;  // (T, B, I), (4H, I), (4H, H), (4H,), (4H,)
  const float *h_0, *c_0;                // (B, H)
  float *y, *h_n, *c_n;                  // (T, B, H), (B, H), (B, H)
  float *gates, *h, *c;                  // tape: (T * B, 4H), (T + 1, B, H), (T + 1, B, H)
};

// gates (N, 4H) = x (N, I) W^T
extern "C" void input_product(const float* x, const float* W, float* gates, Index N, Index I,
                              Index H) {
  rnncore::ProductPlan<float> products;
  products.fit(N, 4 * H, I);
  rnncore::ArenaPlan plan;
  products.plan(plan, 1);
  const rnncore::Arena arena(plan);
  rnncore::product<float>(rnncore::Worker{}, rnncore::Into::assign, rnncore::Op::none, {x, N, I, I},
                          rnncore::Op::transpose, {W, 4 * H, I, I}, {gates, N, 4 * H, 4 * H},
                          products);
}

// The whole forward pass with tape; 0, or 1 where H does not fit, 2 without memory.
extern "C" int lstm_forward(const Arrays* arrays, Index T, Index B, Index I, Index H) {
  if (H % width != 0) return 1;
  const Arrays& a = *arrays;
  const auto bytes = static_cast<std::size_t>(4 * H * (H + 1)) * sizeof(float);
  const std::unique_ptr<float, Free> scratch(
      static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
  if (!scratch) return 2;
  float *const packed = scratch.get(), *const bias = packed + 4 * H * H;

  pack(a.R, H, packed);
  for (Index i = 0; i < 4 * H; ++i) bias[i] = a.b_ih[i] + a.b_hh[i];
  input_product(a.x, a.W, a.gates, T * B, I, H);
  const Index BH = B * H;
  std::copy_n(a.h_0, BH, a.h);
  std::copy_n(a.c_0, BH, a.c);
  for (Index t = 0; t < T; ++t) {
    time_step({H, packed, bias, a.gates + t * 4 * BH, a.h + t * BH, a.c + t * BH,
               a.h + (t + 1) * BH, a.c + (t + 1) * BH, a.y + t * BH},
              B);
  }
  std::copy_n(a.h + T * BH, BH, a.h_n);
  std::copy_n(a.c + T * BH, BH, a.c_n);
  return 0;
}
