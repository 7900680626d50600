// Where recomputation cuts a sequence: runs of whole chunks of backward's merged gradients, so that
// every sum is the one of a pass that keeps all steps.
#pragma once

#include <algorithm>
#include <vector>

#include "cells/cell.hpp"
#include "sequence/rows.hpp"

namespace rnncore {

// Rows that the merged gradients take at a time, by their working set: x, dx, dz and h.
template <class Cell, class T>
Index gradient_chunk(const Sizes& sizes, const Schedule& schedule) {
  const Index slots_and_h = checked_mul(Wiring<Cell>::slots + 1, sizes.hidden);
  const Index row = checked_add(checked_mul(sizes.input, 2), slots_and_h);
  return std::min(schedule.rows(), std::max(chunk_rows<T>(row), sizes.batch));
}

class Segments {
 public:
  // Segments of chunks of `chunk` rows and of at least `recompute` steps, but for the first, which
  // is what is left. 0: one segment of all steps.
  Segments(const Schedule& schedule, Index chunk, Index recompute) : cuts_{schedule.steps()} {
    for (Index end = schedule.steps(); end > 0;) {
      Index begin = recompute == 0 ? 0 : schedule.chunk_begin(end, chunk);
      while (begin > 0 && end - begin < recompute) begin = schedule.chunk_begin(begin, chunk);
      cuts_.push_back(begin);
      end = begin;
    }
    std::reverse(cuts_.begin(), cuts_.end());
  }

  Index count() const { return static_cast<Index>(cuts_.size()) - 1; }
  Range steps(Index segment) const {
    return {cuts_[static_cast<std::size_t>(segment)], cuts_[static_cast<std::size_t>(segment) + 1]};
  }

 private:
  std::vector<Index> cuts_;
};

}  // namespace rnncore
