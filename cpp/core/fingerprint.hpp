// A 64-bit fingerprint of numbers: tells whether weights are still those that were packed.
#pragma once

#include <cstring>

#include "core/types.hpp"

namespace rnncore {

// Each 64-bit word w, at a position with its own key k, adds w to one sum and lo(w ^ k) * hi(w ^ k)
// to another (after the inner step of XXH3, Y. Collet): a few operations per packet, so that memory
// is the limit. Two arrays that differ agree by a chance of about 2^-64: where the product happens
// to swallow a change, the plain sum shows it.
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
  static constexpr int words = packet_bytes / 8;

  void add_bytes(const std::byte* from, Index size) {
    using Word __attribute__((vector_size(packet_bytes))) = std::uint64_t;
    Word plain, products, keys, some;
    std::memcpy(&plain, plain_, sizeof(plain));
    std::memcpy(&products, products_, sizeof(products));
    std::memcpy(&keys, keys_, sizeof(keys));
    const auto step = [&] {
      const Word mixed = some ^ keys;
      plain += some;
      products += (mixed & 0xFFFFFFFFu) * (mixed >> 32);
      keys += 0xD1B54A32D192ED03u;
    };
    constexpr Index block = sizeof(Word);
    for (; size >= block; from += block, size -= block) {
      std::memcpy(&some, from, block);
      step();
    }
    some = Word{};
    std::memcpy(&some, from, static_cast<std::size_t>(size));
    step();
    std::memcpy(plain_, &plain, sizeof(plain));
    std::memcpy(products_, &products, sizeof(products));
    std::memcpy(keys_, &keys, sizeof(keys));
  }

  std::uint64_t plain_[words] = {}, products_[words] = {};
  std::uint64_t keys_[8] = {0x9E3779B185EBCA87u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u,
                            0x85EBCA77C2B2AE63u, 0x27D4EB2F165667C5u, 0xBE4BA423396CFEB8u,
                            0x1CAD21F72C81017Cu, 0xDB979083E96DD4DEu};
};

}  // namespace rnncore
