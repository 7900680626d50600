// Where recomputation cuts a sequence: runs of whole chunks of backward's merged gradients, so that
// every sum is the one of a pass that keeps all steps.
#pragma once

#include <vector>

#include "recurrence/plan/schedule.hpp"

namespace rnncore {

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
    for (Index segment = 0; segment < count(); ++segment) {
      state_offset_.push_back(state_offset_.back() + schedule.active(steps(segment).begin));
    }
  }

  Index count() const { return static_cast<Index>(cuts_.size()) - 1; }
  Range steps(Index segment) const {
    return {cuts_[static_cast<std::size_t>(segment)], cuts_[static_cast<std::size_t>(segment) + 1]};
  }

  // Where the states before a segment begin in a tape that keeps those of its rows.
  Index state_offset(Index segment) const {
    return state_offset_[static_cast<std::size_t>(segment)];
  }

 private:
  std::vector<Index> cuts_, state_offset_{0};
};

}  // namespace rnncore
