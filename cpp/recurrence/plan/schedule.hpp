// Which rows run at which step: sequences sorted by length, so that the active rows are a prefix
// and no padded step is ever computed. Direction and raggedness both follow from it.
#pragma once

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"
#include "core/types.hpp"

namespace rnncore {

// T steps, B sequences, I features in, H units; F numbers that outputs feed back into a step.
struct Sizes {
  Index steps = 0, batch = 0, input = 0, hidden = 0, fed = 0;
};

class Schedule {
 public:
  // `lengths` (B,), or null: all T steps. `reverse`: each sequence runs from its own end.
  Schedule(const Sizes& sizes, const Index* lengths, bool reverse);

  Index steps() const { return steps_; }                // L: the longest length
  Index batch() const { return batch_; }                // B
  Index valid_steps() const { return offset(steps_); }  // N: the steps of all sequences together
  bool ragged() const { return ragged_; }
  bool reversed() const { return reverse_; }

  // Rows that are active at a step: 0 at step L.
  Index active(Index step) const {
    return ragged_ ? active_[at(step)] : step < steps_ ? batch_ : 0;
  }
  // Those of them among `rows`.
  Range active(Range rows, Index step) const {
    return {rows.begin, std::max(rows.begin, std::min(rows.end, active(step)))};
  }
  // Valid steps of all sequences before `step`: where its rows begin in an array without padding.
  Index offset(Index step) const { return ragged_ ? offset_[at(step)] : step * batch_; }
  // How many those of [begin, end) are.
  Index count(Range steps) const { return offset(steps.end) - offset(steps.begin); }

  Index sequence(Index row) const { return ragged_ ? order_[at(row)] : row; }
  Index length(Index row) const { return ragged_ ? length_[at(row)] : steps_; }
  // Position in x and y of what `row` does at `step`.
  Index time(Index step, Index row) const { return reverse_ ? length(row) - 1 - step : step; }

  // The first step after `begin` such that the steps between are about `rows` rows.
  Index chunk_end(Index begin, Index rows) const;

  // The same backwards from `end`.
  Index chunk_begin(Index end, Index rows) const;

  // Part `part` of `parts` of the rows, even in the sum of their lengths.
  Range share(int part, int parts) const;

 private:
  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }

  Index steps_, batch_;
  bool ragged_, reverse_;
  std::vector<Index> order_, length_, active_, offset_;  // empty unless ragged
};

}  // namespace rnncore
