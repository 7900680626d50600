// Which rows run at which step: pieces of sequences sorted by length, so that the active rows are a
// prefix and no padded step is ever computed. Direction, raggedness and resets all follow from it.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "core/parallel.hpp"
#include "recurrence/plan/pieces.hpp"

namespace rnncore {

class Schedule {
 public:
  // `pieces`: longest first, which must outlive this; or none: each sequence is one row of T steps.
  // `reverse`: each row runs from its own end.
  Schedule(const Sizes& sizes, std::span<const Piece> pieces, bool reverse);

  Index steps() const { return steps_; }                // L: of the longest row
  Index rows() const { return rows_; }                  // R: of all sequences together
  Index valid_steps() const { return offset(steps_); }  // N: the steps of all rows together
  bool ragged() const { return !pieces_.empty(); }      // rows drop out, or do not start at 0
  bool reversed() const { return reverse_; }

  // Rows that are active at a step: 0 at step L.
  Index active(Index step) const {
    return ragged() ? active_[at(step)] : step < steps_ ? rows_ : 0;
  }
  // Those of them among `rows`.
  Range active(Range rows, Index step) const {
    return {rows.begin, std::max(rows.begin, std::min(rows.end, active(step)))};
  }
  // Valid steps of all rows before `step`: where its rows begin in an array without padding.
  Index offset(Index step) const { return ragged() ? offset_[at(step)] : step * rows_; }
  // How many those of [begin, end) are.
  Index count(Range steps) const { return offset(steps.end) - offset(steps.begin); }

  // The same of states: slot 0 has the initial ones of all rows, slot s > 0 those after step s - 1,
  // of its rows. N + R in all.
  Index state_offset(Index slot) const { return slot == 0 ? 0 : rows_ + offset(slot - 1); }

  Index sequence(Index row) const { return ragged() ? pieces_[at(row)].sequence : row; }
  Index begin(Index row) const { return ragged() ? pieces_[at(row)].begin : 0; }
  Index length(Index row) const { return ragged() ? pieces_[at(row)].length : steps_; }
  // Whether the row starts with zeros, not with the given state.
  bool anew(Index row) const { return ragged() && pieces_[at(row)].anew; }
  // Whether it is the first of its sequence to run; the last, which gives the final state.
  bool first(Index row) const { return !ragged() || pieces_[at(row)].first(reverse_); }
  bool last(Index row) const { return !ragged() || pieces_[at(row)].last(reverse_); }
  // Whether its sequence ends with it.
  bool ends(Index row) const { return !ragged() || pieces_[at(row)].ends; }
  // Position in x and y of what `row` does at `step`.
  Index time(Index step, Index row) const {
    return begin(row) + (reverse_ ? length(row) - 1 - step : step);
  }

  // The first step after `begin` such that the steps between are about `rows` rows.
  Index chunk_end(Index begin, Index rows) const;

  // The same backwards from `end`.
  Index chunk_begin(Index end, Index rows) const;

  // Part `part` of `parts` of the rows, even in the sum of their lengths.
  Range share(int part, int parts) const;

  // Gradients of the given state from those of each row's initial one: assign(sequence, row) for
  // the first row of a sequence, or (sequence, -1) if it starts anew; add(sequence, row) for each
  // other row that was given the state. Sequences in `mine` alone.
  template <class Assign, class Add>
  void collect_initial(Range mine, Assign&& assign, Add&& add) const {
    const auto for_mine = [&](auto&& f) {
      for (Index r = 0; r < rows_; ++r) {
        const Index b = sequence(r);
        if (b >= mine.begin && b < mine.end) f(b, r);
      }
    };
    for_mine([&](Index b, Index r) {
      if (first(r)) assign(b, anew(r) ? -1 : r);
    });
    for_mine([&](Index b, Index r) {
      if (!first(r) && !anew(r)) add(b, r);
    });
  }

 private:
  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }

  Index steps_, rows_;
  bool reverse_;
  std::span<const Piece> pieces_;
  std::vector<Index> active_, offset_;  // empty unless ragged
};

}  // namespace rnncore
