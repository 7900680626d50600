// Packed weights kept from one inference call to the next.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "core/arena.hpp"
#include "core/types.hpp"

namespace rnncore {

// Which weights were packed, and how: their shapes, fingerprints of all their numbers, and what
// else decides the layout of the panels.
struct WeightKey {
  static constexpr Index parts = 16;
  std::array<Index, 6> layout{};
  std::array<std::uint64_t, 2 * parts> numbers{};

  bool operator==(const WeightKey&) const = default;

  // Fingerprints of W and R in `parts` parts each, whatever the number of threads.
  template <class T>
  void read(Matrix<const T> w, Matrix<const T> r);
};

// Panels of the weights that `key` describes; never changed once they are kept.
struct PackedPanels {
  explicit PackedPanels(const WeightKey& of) : key(of) {}

  WeightKey key;
  Arena block;
};

// One layer's, in one direction. Several threads may use it at once. Weights are read at every
// call and compared by their fingerprints: a change made in place, by whomever, is always noticed.
class WeightCache {
 public:
  // What was kept for these weights, or null.
  std::shared_ptr<PackedPanels> find(const WeightKey& key);

  void keep(std::shared_ptr<PackedPanels> panels);

  Index hits() const { return hits_; }

 private:
  // Only ever tried: a fork while another thread holds it leaves the child one that never opens,
  // and to pack and not to keep is always right.
  std::mutex mutex_;
  std::atomic<Index> hits_{0};
  std::shared_ptr<PackedPanels> panels_;
};

}  // namespace rnncore
