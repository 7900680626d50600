// One aligned block of scratch memory per call, sized before the kernel starts.
#pragma once

#include <cstdlib>
#include <utility>

#include "core/types.hpp"

namespace rnncore {

// Use: describe every array with `reserve` (in order), `allocate` once, then `take` in the same
// order.
class Arena {
 public:
  static constexpr Index alignment = 64;

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { std::free(block_); }

  template <class T>
  void reserve(Index count) {
    size_ = checked_add(size_, bytes<T>(count));
  }

  void allocate() {
    assert(block_ == nullptr);
    if (size_ == 0) return;
    block_ = static_cast<std::byte*>(
        std::aligned_alloc(static_cast<std::size_t>(alignment), static_cast<std::size_t>(size_)));
    if (block_ == nullptr) throw std::bad_alloc();
  }

  template <class T>
  T* take(Index count) {
    T* result = reinterpret_cast<T*>(block_ + used_);
    used_ += bytes<T>(count);
    assert(used_ <= size_);
    return result;
  }

 private:
  template <class T>
  static Index bytes(Index count) {
    const Index raw = checked_mul(count, static_cast<Index>(sizeof(T)));
    return checked_add(raw, alignment - 1) / alignment * alignment;
  }

  std::byte* block_ = nullptr;
  Index size_ = 0, used_ = 0;
};

}  // namespace rnncore
