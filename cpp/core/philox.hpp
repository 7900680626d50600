// Random bits as a function of a counter and a key: Philox4x32-7 (Salmon et al. 2011, "Parallel
// random numbers: as easy as 1, 2, 3"; seven rounds are the fewest that pass all of their tests).
// Whoever asks for some gets the same ones, in any order and on any number of threads, so that
// nothing random needs to be kept.
#pragma once

#include <cstdint>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace rnncore {

class Philox {
 public:
  static constexpr int block_words = 32;

  explicit Philox(std::uint64_t seed)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)} {}

  // The words of the counters (8 block + i, b, c, d), i < 8. Word w of counter i stands at
  // 16 (w / 2) + 2 i + w % 2: so they leave the registers without a shuffle.
  void block(std::uint32_t block, std::uint32_t b, std::uint32_t c, std::uint32_t d,
             std::uint32_t* words) const {
    for (int first = 0; first < counters; first += lanes) {
      Lanes x0 = counting() + (std::uint64_t{block} * counters + static_cast<unsigned>(first));
      Lanes x1 = Lanes{} + b, x2 = Lanes{} + c, x3 = Lanes{} + d;
      std::uint32_t k0 = key_[0], k1 = key_[1];
#pragma GCC unroll 7
      for (int round = 0; round < 7; ++round) {
        // What stands above 32 bits takes no part in a product, and is cut off in the end.
        const Lanes p = multiply(x0, 0xD2511F53u), q = multiply(x2, 0xCD9E8D57u);
        x0 = (q >> 32) ^ x1 ^ k0;
        x2 = (p >> 32) ^ x3 ^ k1;
        x1 = q;
        x3 = p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
      }
      store_pairs(x0, x1, words + 2 * first);
      store_pairs(x2, x3, words + 2 * (counters + first));
    }
  }

 private:
  static constexpr int counters = 8;
#if defined(__AVX512F__)
  static constexpr int lanes = 8;
#elif defined(__AVX2__)
  static constexpr int lanes = 4;
#else
  static constexpr int lanes = 2;
#endif
  using Lanes [[gnu::vector_size(8 * lanes)]] = std::uint64_t;

  static Lanes counting() {
    Lanes result{};
    for (unsigned i = 0; i < lanes; ++i) result[i] = i;
    return result;
  }

  // The products of the lower 32 bits. (Compilers make a full 64-bit product of `*`.)
  static Lanes multiply(Lanes a, std::uint32_t by) {
#if defined(__AVX512F__)
    return (Lanes)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(by));
#elif defined(__AVX2__)
    return (Lanes)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(by));
#elif defined(__SSE2__)
    return (Lanes)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(by));
#else
    return (a & 0xFFFFFFFFu) * by;
#endif
  }

  // The lower 32 bits of a and b in turn.
  static void store_pairs(Lanes a, Lanes b, std::uint32_t* to) {
    const Lanes pairs = (a & 0xFFFFFFFFu) | (b << 32);
    __builtin_memcpy(to, &pairs, sizeof pairs);
  }

  std::uint32_t key_[2];
};

}  // namespace rnncore
