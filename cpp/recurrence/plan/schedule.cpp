// Cuts of the schedule into chunks and shares.
#include "recurrence/plan/schedule.hpp"

namespace rnncore {

Schedule::Schedule(const Sizes& sizes, std::span<const Piece> pieces, bool reverse)
    : steps_(sizes.batch > 0 ? sizes.steps : 0),
      rows_(sizes.batch),
      reverse_(reverse),
      pieces_(pieces) {
  if (!ragged()) {
    checked_mul(steps_, rows_);
    return;
  }
  steps_ = pieces.front().length;
  rows_ = static_cast<Index>(pieces.size());
  offset_.resize(at(steps_ + 1));
  active_.resize(at(steps_ + 1));
  Index rows = rows_;
  for (Index step = 0; step < steps_; ++step) {
    while (rows > 0 && length(rows - 1) <= step) --rows;
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
    if (!ragged()) return rows_ * i / parts;
    const Index before = valid_steps() * i / parts;
    Index row = 0;
    for (Index sum = 0; row < rows_ && sum + length(row) / 2 < before; ++row) sum += length(row);
    return i == parts ? rows_ : row;
  };
  return {cut(part), cut(part + 1)};
}

}  // namespace rnncore
