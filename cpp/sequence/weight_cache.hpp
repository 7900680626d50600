// Packed weights kept from one inference call to the next.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "core/arena.hpp"
#include "core/fingerprint.hpp"
#include "core/parallel.hpp"

namespace rnncore {

// Which weights were packed, and how: their shapes, fingerprints of all their numbers, and what
// else decides the form of the panels.
struct WeightKey {
  static constexpr Index parts = 16;
  std::array<Index, 5> form{};
  std::array<std::uint64_t, 2 * parts> numbers{};

  bool operator==(const WeightKey&) const = default;

  // Fingerprints of W and R in `parts` parts each, whatever the number of threads.
  template <class T>
  void read(Matrix<const T> w, Matrix<const T> r) {
    constexpr Index bytes_per_unit = 40;
    const Index bytes = (w.rows * w.cols + r.rows * r.cols) * Index{sizeof(T)};
    parallel(threads_for(bytes / bytes_per_unit, parts), [&](const Worker& worker) {
      const Range mine = worker.share(2 * parts);
      for (Index i = mine.begin; i < mine.end; ++i) {
        const Matrix<const T>& from = i < parts ? w : r;
        const Range rows = even_part(from.rows, i % parts, parts);
        Fingerprint print;
        print.add(Matrix<const T>{from.row(rows.begin), rows.size(), from.cols, from.stride});
        numbers[static_cast<std::size_t>(i)] = print.value();
      }
    });
  }
};

// Panels of the weights that `key` describes; never changed once they are kept.
struct PackedPanels {
  explicit PackedPanels(const WeightKey& of) : key(of) {}

  WeightKey key;
  Arena memory;
  std::array<void*, 2> arrays{};
};

// One layer's, in one direction. Several threads may use it at once. Weights are read at every
// call and compared by their fingerprints: a change made in place, by whomever, is always noticed.
class WeightCache {
 public:
  // What was kept for these weights, or null.
  std::shared_ptr<PackedPanels> find(const WeightKey& key) const {
    const std::lock_guard lock(mutex_);
    return panels_ && panels_->key == key ? panels_ : nullptr;
  }

  void keep(std::shared_ptr<PackedPanels> panels) {
    const std::lock_guard lock(mutex_);
    panels_.swap(panels);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<PackedPanels> panels_;
};

}  // namespace rnncore
