// A window of a tape: what the steps of a loop write, and backward reads.
#pragma once

#include "cells/table.hpp"
#include "recurrence/plan/schedule.hpp"

namespace rnncore {

// Gates and states of the steps from `begin` on: a whole tape, a segment of it, or a place for what
// nobody keeps. Rows are sorted by length, longest first; finished rows carry their states.
template <class T, class State = T>
struct TapeView {
  Index begin = 0;
  // False: the gates of one chunk of steps at a time, and two states that take turns.
  bool every_step = true;
  T* gates = nullptr;       // (rows, S*H), without padding
  States<State*> states{};  // slot 0: the state before `begin`
  States<Index> size{};     // of one state of all rows
  Index gates_per_row = 0;  // S*H

  // State k of all rows before `step`, which is the one after `step` - 1.
  State* before(std::size_t k, Index step) const {
    return states[k] + (every_step ? step - begin : step % 2) * size[k];
  }
  State* after(std::size_t k, Index step) const { return before(k, step + 1); }

  // The gates of the rows at `step`, of a view of every step.
  T* gates_at(const Schedule& schedule, Index step) const {
    return gates + schedule.count({begin, step}) * gates_per_row;
  }

  // The same with states that are only read.
  operator TapeView<T, const T>() const {
    States<const T*> read{};
    std::copy(states.begin(), states.end(), read.begin());
    return {begin, every_step, gates, read, size, gates_per_row};
  }
};

}  // namespace rnncore
