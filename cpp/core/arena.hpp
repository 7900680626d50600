// One aligned block of memory per call, laid out before the kernel starts.
#pragma once

#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/types.hpp"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace rnncore {

// RNNCORE_DEBUG=prefill: scratch memory is filled with NaN, so that a number which nobody wrote is
// seen in what is made of it.
inline const bool prefills = [] {
  const char* const mode = std::getenv("RNNCORE_DEBUG");
  return mode != nullptr && std::string_view(mode) == "prefill";
}();

inline void prefill(void* memory, std::size_t bytes) {
  if (prefills) std::memset(memory, 0xFF, bytes);  // a NaN of every type
}

// Behind each array of an arena: bytes that AddressSanitizer lets nobody touch, in builds with it.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr Index guard_bytes = 64;
inline void guard(std::byte* from, Index bytes) {
  __asan_poison_memory_region(from, static_cast<std::size_t>(bytes));
}
#else
inline constexpr Index guard_bytes = 0;
inline void guard(std::byte*, Index) {}
#endif

// The arrays that a call needs. Each part of the call adds its own, in any number; an Arena then
// gives all of them one block and sets their pointers, which must stay where they are till then.
class ArenaPlan {
 public:
  static constexpr Index alignment = 64;

  // `pointer` will hold `count` elements, aligned to a cache line.
  template <class T>
  void array(T*& pointer, Index count) {
    const auto set = [](void* to, std::byte* at) {
      *static_cast<T**>(to) = reinterpret_cast<T*>(at);
    };
    const Index size = checked_mul(count, static_cast<Index>(sizeof(T)));
    const Array array{&pointer, set, bytes_, size};
    if (count_ < few_.size()) {
      few_[count_++] = array;
    } else {
      more_.push_back(array);
    }
    bytes_ =
        checked_add(bytes_, checked_add(size, alignment - 1) / alignment * alignment + guard_bytes);
  }

  // Of all arrays together.
  Index bytes() const { return bytes_; }

  // Points every array into a block of that size.
  void place(std::byte* block) const {
    for (std::size_t i = 0; i < count_; ++i) few_[i].place(block);
    for (const Array& array : more_) array.place(block);
  }

 private:
  struct Array {
    void* pointer;
    void (*set)(void* pointer, std::byte* at);
    Index offset, size;

    void place(std::byte* block) const {
      set(pointer, block + offset);
      guard(block + offset + size, round_up(size, alignment) - size + guard_bytes);
    }
  };

  std::array<Array, 16> few_;  // most calls have no more: they allocate nothing for the plan
  std::size_t count_ = 0;      // of those
  std::vector<Array> more_;
  Index bytes_ = 0;
};

class Arena {
 public:
  Arena() = default;
  explicit Arena(const ArenaPlan& plan) { allocate(plan); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { std::free(block_); }

  // Called once, unless the constructor did.
  void allocate(const ArenaPlan& plan) {
    assert(block_ == nullptr);
    size_ = plan.bytes();
    if (size_ > 0) {
      block_ = static_cast<std::byte*>(std::aligned_alloc(
          static_cast<std::size_t>(ArenaPlan::alignment), static_cast<std::size_t>(size_)));
      if (block_ == nullptr) throw std::bad_alloc();
      prefill(block_, static_cast<std::size_t>(size_));
    }
    plan.place(block_);
  }

  // Points the arrays of an equal plan into what is already allocated.
  void share(const ArenaPlan& plan) const {
    assert(plan.bytes() == size_);
    plan.place(block_);
  }

 private:
  std::byte* block_ = nullptr;
  Index size_ = 0;
};

}  // namespace rnncore
