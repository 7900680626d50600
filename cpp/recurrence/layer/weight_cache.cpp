// Fingerprints of weights, and the cache that they are the key of.
#include "recurrence/layer/weight_cache.hpp"

#include "core/fingerprint.hpp"
#include "core/parallel.hpp"

namespace rnncore {

template <class T>
void WeightKey::read(Matrix<const T> w, Matrix<const T> r) {
  constexpr Index bytes_per_unit = 40;
  const Index bytes = (w.rows * w.cols + r.rows * r.cols) * Index{sizeof(T)};
  parallel_parts(threads_for(bytes / bytes_per_unit, parts), [&](const Worker& worker) {
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

template void WeightKey::read(Matrix<const float>, Matrix<const float>);
template void WeightKey::read(Matrix<const double>, Matrix<const double>);

std::shared_ptr<PackedPanels> WeightCache::find(const WeightKey& key) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || panels_ == nullptr || panels_->key != key) return nullptr;
  ++hits_;
  return panels_;
}

void WeightCache::keep(std::shared_ptr<PackedPanels> panels) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock) panels_.swap(panels);
}

}  // namespace rnncore
