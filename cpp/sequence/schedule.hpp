// Which rows run at which step: sequences sorted by length, so that the active rows are a prefix
// and no padded step is ever computed. Direction and raggedness both follow from it.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/parallel.hpp"
#include "core/types.hpp"
#include "sequence/args.hpp"

namespace rnncore {

class Schedule {
 public:
  Schedule(const Sizes& sizes, const Index* lengths, bool reverse)
      : steps_(lengths == nullptr && sizes.batch > 0 ? sizes.steps : 0),
        batch_(sizes.batch),
        ragged_(lengths != nullptr),
        reverse_(reverse) {
    if (!ragged_) {
      rows_ = checked_mul(steps_, batch_);
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
    rows_ = offset_.back();
  }

  Index steps() const { return steps_; }  // L: the longest length
  Index batch() const { return batch_; }  // B
  Index rows() const { return rows_; }    // N: all valid steps of all sequences
  bool reordered() const { return ragged_ || reverse_; }

  // Rows that are active at a step: 0 at step L.
  Index active(Index step) const {
    return ragged_ ? active_[at(step)] : step < steps_ ? batch_ : 0;
  }
  // Those of them among `rows`.
  Range active(Range rows, Index step) const {
    return {rows.begin, std::max(rows.begin, std::min(rows.end, active(step)))};
  }
  // Rows before a step.
  Index offset(Index step) const { return ragged_ ? offset_[at(step)] : step * batch_; }
  Index sequence(Index row) const { return ragged_ ? order_[at(row)] : row; }
  Index length(Index row) const { return ragged_ ? length_[at(row)] : steps_; }
  // Position in x and y of what `row` does at `step`.
  Index time(Index step, Index row) const { return reverse_ ? length(row) - 1 - step : step; }

  // The first step after `begin` such that the steps between hold about `rows` rows.
  Index chunk_end(Index begin, Index rows) const {
    Index end = begin + 1;
    while (end < steps_ && offset(end + 1) - offset(begin) <= rows) ++end;
    return end;
  }

  // The same backwards from `end`.
  Index chunk_begin(Index end, Index rows) const {
    Index begin = end - 1;
    while (begin > 0 && offset(end) - offset(begin - 1) <= rows) --begin;
    return begin;
  }

  // Part `part` of `parts` of the batch rows, even in the sum of their lengths.
  Range share(int part, int parts) const {
    const auto cut = [&](int i) {
      if (!ragged_) return batch_ * i / parts;
      const Index before = rows() * i / parts;
      Index row = 0;
      for (Index sum = 0; row < batch_ && sum + length(row) / 2 < before; ++row) sum += length(row);
      return i == parts ? batch_ : row;
    };
    return {cut(part), cut(part + 1)};
  }

 private:
  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }

  Index steps_, batch_, rows_ = 0;
  bool ragged_, reverse_;
  std::vector<Index> order_, length_, active_, offset_;  // empty unless ragged
};

}  // namespace rnncore
