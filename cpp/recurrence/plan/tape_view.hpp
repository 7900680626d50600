// A window of a tape: what the steps of a loop write, and backward reads.
#pragma once

#include "cells/table.hpp"
#include "recurrence/plan/schedule.hpp"

namespace rnncore {

// Gates and states of the steps from `begin` on: a whole tape, a segment of it, or a place for what
// nobody keeps. Rows are the schedule's. A row that has finished keeps its last state where the
// step left it.
template <class T, class State = T>
struct TapeView {
  const Schedule* schedule = nullptr;
  Index begin = 0;
  // False: the gates of one chunk of steps at a time, and two states that take turns.
  bool every_step = true;
  T* gates = nullptr;       // (rows, S*H), without padding
  States<State*> states{};  // (rows, stride): Schedule::state_offset, from that before `begin` on
  States<Index> stride{};   // from row to row
  Index gates_per_row = 0;  // S*H

  // State k before `step`, which is the one after `step` - 1, of the rows of that step.
  State* before(std::size_t k, Index step) const {
    const Index row = every_step ? schedule->state_offset(step) - schedule->state_offset(begin)
                                 : step % 2 * schedule->rows();
    return states[k] + row * stride[k];
  }
  State* after(std::size_t k, Index step) const { return before(k, step + 1); }

  // The gates of the rows at `step`, of a view of every step.
  T* gates_at(Index step) const { return gates + schedule->count({begin, step}) * gates_per_row; }

  // The same with states that are only read.
  operator TapeView<T, const T>() const {
    States<const T*> read{};
    std::copy(states.begin(), states.end(), read.begin());
    return {schedule, begin, every_step, gates, read, stride, gates_per_row};
  }
};

}  // namespace rnncore
