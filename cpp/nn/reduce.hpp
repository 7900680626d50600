// Sums whose bits do not depend on the number of threads: fixed chunks, added in order.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>

#include "core/parallel.hpp"

namespace rnncore {

inline constexpr Index max_chunks = 64;

// Sum of part(range) over the chunks of [0, count). The problem's size alone decides the chunks
// (whole multiples of `grain` but for the last); `work` is the cost of all of it in multiply-adds.
// A part that takes a worker too asks it whether the call ends early.
template <class Part>
double chunked_sum(Index count, Index grain, Index work, Part&& part) {
  const Index chunk = std::max<Index>(1, round_up(ceil_div(count, max_chunks), grain));
  const Index chunks = ceil_div(count, chunk);
  std::array<double, max_chunks> partial{};
  const auto run = [&](const Worker& worker) {
    const Range mine = worker.share(chunks);
    for (Index c = mine.begin; c < mine.end; ++c) {
      const Range range{c * chunk, std::min(count, (c + 1) * chunk)};
      double& sum = partial[static_cast<std::size_t>(c)];
      if constexpr (std::invocable<Part, Range, const Worker&>) {
        sum = part(range, worker);
      } else {
        sum = part(range);
      }
    }
  };
  const int threads = threads_for(work, chunks);
  parallel(threads, [&](const Team& team) { team.run(threads, run); });
  double total = 0;
  for (const double p : partial) total += p;
  return total;
}

// Sum of term(0) .. term(count - 1) in eight interleaved float64 sums, which a compiler vectorises
// without changing a bit.
template <class Term>
double lane_sum(Index count, Term&& term) {
  constexpr Index lanes = 8;
  double sum[lanes] = {};
  Index i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (Index l = 0; l < lanes; ++l) sum[l] += static_cast<double>(term(i + l));
  }
  for (Index l = 0; i + l < count; ++l) sum[l] += static_cast<double>(term(i + l));
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

}  // namespace rnncore
