// Sorting by length, and cuts of the schedule into chunks and shares.
#include "recurrence/plan/schedule.hpp"

#include <numeric>

namespace rnncore {

Schedule::Schedule(const Sizes& sizes, const Index* lengths, bool reverse)
    : steps_(lengths == nullptr && sizes.batch > 0 ? sizes.steps : 0),
      batch_(sizes.batch),
      ragged_(lengths != nullptr),
      reverse_(reverse) {
  if (!ragged_) {
    checked_mul(steps_, batch_);
    return;
  }
  order_.resize(at(batch_));
  length_.resize(at(batch_));
  std::iota(order_.begin(), order_.end(), Index{0});
  std::stable_sort(order_.begin(), order_.end(),
                   [&](Index a, Index b) { return lengths[a] > lengths[b]; });
  for (Index r = 0; r < batch_; ++r) length_[at(r)] = lengths[order_[at(r)]];
  if (batch_ > 0) steps_ = length_[0];
  offset_.resize(at(steps_ + 1));
  active_.resize(at(steps_ + 1));
  Index rows = batch_;
  for (Index step = 0; step < steps_; ++step) {
    while (rows > 0 && length_[at(rows - 1)] <= step) --rows;
    active_[at(step)] = rows;
    offset_[at(step + 1)] = checked_add(offset_[at(step)], rows);
  }
}

Index Schedule::chunk_end(Index begin, Index rows) const {
  Index end = begin + 1;
  while (end < steps_ && count({begin, end + 1}) <= rows) ++end;
  return end;
}

Index Schedule::chunk_begin(Index end, Index rows) const {
  Index begin = end - 1;
  while (begin > 0 && count({begin - 1, end}) <= rows) --begin;
  return begin;
}

Range Schedule::share(int part, int parts) const {
  const auto cut = [&](int i) {
    if (!ragged_) return batch_ * i / parts;
    const Index before = valid_steps() * i / parts;
    Index row = 0;
    for (Index sum = 0; row < batch_ && sum + length(row) / 2 < before; ++row) sum += length(row);
    return i == parts ? batch_ : row;
  };
  return {cut(part), cut(part + 1)};
}

}  // namespace rnncore
