// What the engine follows from a cell's letters: how the rows of W and R meet its slots, and what
// parameters of its own it has.
#pragma once

#include <array>
#include <string_view>

namespace rnncore {

// A parameter (rows, H) that acts unit by unit, such as peepholes: one letter per row.
struct UnitParameter {
  std::string_view name, rows;
};

// One of them, or none.
template <bool there>
constexpr std::array<UnitParameter, there ? 1 : 0> only_if(UnitParameter parameter) {
  std::array<UnitParameter, there ? 1 : 0> result{};
  if constexpr (there) result[0] = parameter;
  return result;
}

// Consecutive slots that meet consecutive gates of W or of R.
struct Run {
  int slot = 0, gate = 0, count = 0;
};

// The slots of one cell. A slot is one number per unit and step: a pre-activation, then what
// backward needs of it, then its gradient. Its letter says which parts it takes: 'x' the x-part
// (W x + b_ih) of the next gate, 'h' the recurrent part (R h + b_hh), 'b' the sum of both, 'q' the
// sum of the x-part and R q + b_hh, where the cell itself makes q of h and of the slots before: a
// step of such a cell has two products. The gates that meet q come after those that meet h.
//
// Functions take a `part`: 'x', 'h', 'q', or 'r' for the recurrent part, be it of h or of q.
class Wiring {
 public:
  static constexpr std::size_t max_slots = 8;

  constexpr explicit Wiring(std::string_view letters) : slots_(static_cast<int>(letters.size())) {
    int x = 0, h = 0;
    for (std::size_t slot = 0; slot < letters.size(); ++slot) {
      x_gate_[slot] = letters[slot] == 'h' ? -1 : x++;
      r_gate_[slot] = letters[slot] == 'x' ? -1 : h++;
      meets_q_[slot] = letters[slot] == 'q';
      has_reset_ = has_reset_ || meets_q_[slot];
    }
  }

  constexpr int slots() const { return slots_; }

  // Gate whose `part` reaches `slot`, or -1.
  constexpr int gate_of(int slot, char part) const {
    const auto at = static_cast<std::size_t>(slot);
    if (part == 'x') return x_gate_[at];
    return part == 'r' || meets_q_[at] == (part == 'q') ? r_gate_[at] : -1;
  }
  constexpr bool takes(int slot, char part) const { return gate_of(slot, part) >= 0; }

  // Slots that take `part`.
  constexpr int count(char part) const {
    int result = 0;
    for (int slot = 0; slot < slots_; ++slot) result += takes(slot, part) ? 1 : 0;
    return result;
  }
  // Whether a step has two products, the second of R and q.
  constexpr bool has_reset() const { return has_reset_; }

  // The runs of slots that take `part`; unused entries have count 0.
  constexpr std::array<Run, 2> runs(char part) const {
    std::array<Run, 2> result{};
    std::size_t used = 0;
    for (int slot = 0; slot < slots_; ++slot) {
      if (!takes(slot, part)) continue;
      const bool joins = slot > 0 && takes(slot - 1, part);
      if (!joins) result[used++] = {slot, gate_of(slot, part), 0};
      ++result[used - 1].count;
    }
    return result;
  }

 private:
  int slots_;
  std::array<int, max_slots> x_gate_{}, r_gate_{};
  std::array<bool, max_slots> meets_q_{};
  bool has_reset_ = false;
};

}  // namespace rnncore
