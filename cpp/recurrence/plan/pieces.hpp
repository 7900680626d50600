// Pieces of sequences: where lengths end them and resets cut them.
#pragma once

#include <vector>

#include "core/types.hpp"

namespace rnncore {

// T steps, B sequences, I features in, H units; F numbers that outputs feed back into a step.
struct Sizes {
  Index steps = 0, batch = 0, input = 0, hidden = 0, fed = 0;
};

// Steps [begin, begin + length) of a sequence, which run on without a reset.
struct Piece {
  Index sequence = 0, begin = 0, length = 0;
  bool ends = true;   // its sequence ends with it
  bool anew = false;  // the state before its first step is zeros, not the given one

  // Whether it is the first of its sequence to run, or the last.
  bool first(bool reverse) const { return reverse ? ends : begin == 0; }
  bool last(bool reverse) const { return first(!reverse); }
};

// Where the state before a step is the initial one.
struct Resets {
  const std::uint8_t* before = nullptr;  // (T, B), 0 = none, or null: nowhere
  bool to_state = false;                 // the initial state is the given one, not zeros
};

// The pieces of all sequences, longest first; none where each sequence is one piece of all T steps
// that takes the given state. A reset cuts between two steps in either direction: the state that is
// given goes to the first piece to run, and the last one gives the final state.
std::vector<Piece> cut_into_pieces(const Sizes& sizes, const Index* lengths, const Resets& resets,
                                   bool reverse);

}  // namespace rnncore
