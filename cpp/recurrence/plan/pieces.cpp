// Cutting sequences at their resets, and sorting the pieces by length.
#include "recurrence/plan/pieces.hpp"

#include <algorithm>

namespace rnncore {

std::vector<Piece> cut_into_pieces(const Sizes& sizes, const Index* lengths, const Resets& resets,
                                   bool reverse) {
  std::vector<Piece> pieces;
  const auto reset = [&](Index t, Index b) {
    return resets.before != nullptr && resets.before[t * sizes.batch + b] != 0;
  };
  bool cut = lengths != nullptr;
  if (!cut && resets.before == nullptr) return pieces;
  for (Index b = 0; b < sizes.batch; ++b) {
    const Index length = lengths != nullptr ? lengths[b] : sizes.steps;
    Piece piece{.sequence = b};
    const auto add = [&](Index end) {
      piece.length = end - piece.begin;
      piece.ends = end == length;
      // What comes in from outside comes to the first to run, unless a reset is in front of step 0.
      const bool given = piece.first(reverse) && (reverse || length == 0 || !reset(0, b));
      piece.anew = !given && !resets.to_state;
      cut = cut || !piece.ends || piece.anew;
      pieces.push_back(piece);
    };
    for (Index t = 1; t < length; ++t) {
      if (!reset(t, b)) continue;
      add(t);
      piece.begin = t;
    }
    add(length);
  }
  if (!cut) pieces.clear();
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.length > b.length; });
  return pieces;
}

}  // namespace rnncore
