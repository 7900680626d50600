// The cost rule: which partition a pass runs on.
#include "recurrence/plan/partition.hpp"

#include "core/cache.hpp"
#include "core/simd.hpp"

namespace rnncore {
namespace {

// Cycles, rounded; a rule needs no more. Measured on a Zen 4, but for `wake` (a loaded Xeon of two
// cores) and `meet` (an estimate).
constexpr double wake = 150'000;             // to wake a helper, and to do without it till it comes
constexpr double meet = 2'000;               // to hand out the parts of a step, and to gather them
constexpr double pointwise = 60;             // the cell, per row and packet of units
constexpr double l1_bytes = 16 * 1024;       // of weights that stay in the first-level cache
constexpr double l2_share = 0.75;            // of the second level: the rest holds states and gates
constexpr double l1 = 64, l2 = 27, l3 = 10;  // bytes a cycle from each level of cache
constexpr double worth_it = 0.9;             // more threads must save at least a tenth
constexpr Index least_rows = 12;             // of a part, where there are more than threads

// One time step of a worker: its weights pass once, each packet meets all of its rows.
double step_cycles(const PassWork& work, Index rows, Index panels) {
  const double packets = static_cast<double>(panels * work.depth);
  const double bytes = packets * static_cast<double>(work.packet_bytes);
  const double fitting = l2_share * static_cast<double>(l2_bytes());
  const double rate = bytes <= l1_bytes ? l1 : bytes <= fitting ? l2 : l3;
  const double load = static_cast<double>(work.packet_bytes) / rate;
  return packets * std::max(static_cast<double>(rows), load) +
         static_cast<double>(rows * panels) * pointwise;
}

double pass_cycles(const PassWork& work, int row_parts, int unit_parts) {
  const int threads = row_parts * unit_parts;
  const double step =
      step_cycles(work, ceil_div(work.batch, row_parts), ceil_div(work.panels, unit_parts));
  return work.merged / threads + (threads > 1 ? wake : 0) +
         static_cast<double>(work.steps) * (step + (unit_parts > 1 ? work.meetings * meet : 0));
}

}  // namespace

template <class T>
PassWork pass_work(const Schedule& schedule, Index panels, Index depth, Index merged) {
  const Index steps = schedule.steps(), rows = schedule.valid_steps();
  return {.steps = steps,
          .batch = ceil_div(rows, std::max<Index>(1, steps)),
          .panels = panels,
          .depth = depth,
          .packet_bytes = Simd<T>::width * Index{sizeof(T)},
          .merged = static_cast<double>(rows) * static_cast<double>(panels) *
                    static_cast<double>(merged)};
}

template PassWork pass_work<float>(const Schedule&, Index, Index, Index);
template PassWork pass_work<double>(const Schedule&, Index, Index, Index);

Partition::Partition(const PassWork& work, bool by_rows) {
  const int most = std::min(num_threads(), max_team);
  const Index unit_parts = by_rows ? 1 : work.panels;
  if (most == 1) return;
  double best = pass_cycles(work, 1, 1);
  for (int threads = std::min(2, most);; threads = std::min(2 * threads, most)) {
    for (int units = 1; units <= std::min<Index>(threads, unit_parts); ++units) {
      if (threads % units != 0) continue;
      const double cycles = pass_cycles(work, threads / units, units);
      const bool same_team = threads == this->threads();
      if (cycles < best * (same_team ? 1 : worth_it)) {
        best = cycles;
        row_parts_ = threads / units;
        unit_parts_ = units;
      }
    }
    if (threads == most) break;
  }
  const int twice = 2 * row_parts_;
  const bool spare = row_parts_ > 1 && unit_parts_ == 1 && twice <= max_team &&
                     work.batch >= twice * least_rows &&
                     2 * step_cycles(work, ceil_div(work.batch, twice), work.panels) <=
                         step_cycles(work, ceil_div(work.batch, row_parts_), work.panels);
  if (spare) parts_each_ = 2;
}

}  // namespace rnncore
