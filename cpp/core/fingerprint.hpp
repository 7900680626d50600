// A 64-bit fingerprint of numbers: tells whether weights are still those that were packed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/types.hpp"

namespace rnncore {

// Numbers drawn when the library is loaded: whoever makes weights does not know them.
struct FingerprintKeys {
  static constexpr Index count = 512;
  alignas(64) std::uint64_t words[count];

  FingerprintKeys() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    std::uint64_t state = reinterpret_cast<std::uintptr_t>(this) * 0xD1B54A32D192ED03u ^
                          static_cast<std::uint64_t>(now);
    for (std::uint64_t& word : words) {  // SplitMix64, S. Vigna
      std::uint64_t z = state += 0x9E3779B97F4A7C15u;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
      word = z ^ (z >> 31);
    }
  }
};
inline const FingerprintKeys fingerprint_keys;

// Each 64-bit word w, at a position with its own key k, adds w to one sum and lo(w ^ k) * hi(w ^ k)
// to another (after the long loop of XXH3, Y. Collet): a few operations per packet, so that memory
// is the limit. The sums of words show every change of a single word. The products show changes
// that cancel there, unless the high halves of two w ^ k agree, so the keys must be unknown: with
// keys that anyone can read, weights that collide are found with pencil and paper. When all keys
// have served the products are stirred, so that a key means something else the next time.
class Fingerprint {
 public:
  template <class T>
  void add(Matrix<const T> numbers) {
    for (Index r = 0; r < numbers.rows; ++r) {
      add_bytes(reinterpret_cast<const std::byte*>(numbers.row(r)),
                numbers.cols * Index{sizeof(T)});
    }
  }

  std::uint64_t value() const {
    std::uint64_t all = 0;
    const auto mix = [&](std::uint64_t sum) {
      all = (all ^ (all >> 29) ^ sum) * 0x9E3779B97F4A7C15u;
    };
    for (const std::uint64_t sum : plain_) mix(sum);
    for (const std::uint64_t sum : products_) mix(sum);
    return all ^ (all >> 32);
  }

 private:
#if defined(__AVX512F__)
  static constexpr int packet_bytes = 64;
#elif defined(__AVX2__)
  static constexpr int packet_bytes = 32;
#else
  static constexpr int packet_bytes = 16;
#endif
  static constexpr Index words = packet_bytes / 8;
  using Word __attribute__((vector_size(packet_bytes))) = std::uint64_t;

  struct Sums {
    Word plain, products;

    void add(Word some, const std::uint64_t* key_words) {
      Word key;
      std::memcpy(&key, key_words, sizeof(key));
      const Word mixed = some ^ key;
      plain += some;
      products += (mixed & 0xFFFFFFFFu) * (mixed >> 32);
    }
    void stir() { products = (products ^ (products >> 29)) * 0x9E3779B97F4A7C15u; }
  };

  void add_bytes(const std::byte* from, Index size) {
    Sums sums;
    std::memcpy(&sums.plain, plain_, sizeof(Word));
    std::memcpy(&sums.products, products_, sizeof(Word));
    const std::uint64_t* const keys = fingerprint_keys.words;
    for (Index packets = size / packet_bytes; packets > 0;) {
      const Index count = std::min(packets, (FingerprintKeys::count - next_) / words);
      for (Index i = 0; i < count; ++i, from += packet_bytes) {
        Word some;
        std::memcpy(&some, from, packet_bytes);
        sums.add(some, keys + next_ + i * words);
      }
      packets -= count;
      advance(sums, count);
    }
    Word last{};
    std::memcpy(&last, from, static_cast<std::size_t>(size % packet_bytes));
    sums.add(last, keys + next_);
    advance(sums, 1);
    std::memcpy(plain_, &sums.plain, sizeof(Word));
    std::memcpy(products_, &sums.products, sizeof(Word));
  }

  void advance(Sums& sums, Index packets) {
    next_ += packets * words;
    if (next_ < FingerprintKeys::count) return;
    next_ = 0;
    sums.stir();
  }

  std::uint64_t plain_[words] = {}, products_[words] = {};
  Index next_ = 0;  // key
};

}  // namespace rnncore
