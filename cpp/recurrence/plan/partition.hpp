// How a team shares a time step: batch rows, hidden units, or both; and how many threads to wake.
#pragma once

#include <algorithm>

#include "core/parallel.hpp"
#include "recurrence/plan/schedule.hpp"

namespace rnncore {

// What a pass costs, counted in packets: one multiply-add of a packet is about a cycle.
struct PassWork {
  Index steps = 0, batch = 0;  // time steps, and the mean number of rows that are active in one
  Index panels = 0;            // packets of hidden units
  Index depth = 0;             // packets of weights per panel: gates * K
  Index packet_bytes = 0;
  int meetings = 1;   // of threads that split units, in a step
  double merged = 0;  // multiply-adds, in packets, of the products merged over time
};

// `depth` packets of weights per panel in the loop; for each row and panel, `merged` in the
// products merged over time.
template <class T>
PassWork pass_work(const Schedule& schedule, Index panels, Index depth, Index merged);

// A worker's part of every time step, and the units in its panels.
struct Share {
  Range rows, panels, units;
  int thread;  // the worker's

  // `width`: hidden units per panel, of H in all.
  Share(Range of_rows, Range of_panels, Index hidden, Index width, int of)
      : rows(of_rows),
        panels(of_panels),
        units{std::min(hidden, panels.begin * width), std::min(hidden, panels.end * width)},
        thread(of) {}

  // Calls f(row, first unit, units) for its units of `some` rows.
  template <class F>
  void for_units(Range some, F&& f) const {
    for (Index r = some.begin; r < some.end && units.size() > 0; ++r) {
      f(r, units.begin, units.size());
    }
  }
};

class Partition {
 public:
  // The cheapest by the cost rule below among teams of 1, 2, 4, ... and all threads. `by_rows`:
  // units are never split.
  explicit Partition(const PassWork& work, bool by_rows = false);

  int threads() const { return row_parts_ * unit_parts_; }
  // Of a run of time steps: more than threads where that costs nothing, so that a thread which is
  // held up does less.
  int parts() const { return threads() * parts_each_; }
  int row_parts() const { return row_parts_; }
  int unit_parts() const { return unit_parts_; }
  // Of `steps` those of one run: all, or one where workers need each other's units.
  Index steps_of_run(Range steps) const { return unit_parts_ > 1 ? 1 : steps.size(); }

  // Of one of `parts` parts.
  Share share(const Worker& worker, const Schedule& schedule, Index hidden, Index width) const {
    const Range panels = even_part(ceil_div(hidden, width), worker.rank % unit_parts_, unit_parts_);
    return {schedule.share(worker.rank / unit_parts_, row_parts_ * parts_each_), panels, hidden,
            width, worker.thread};
  }

 private:
  int row_parts_ = 1, unit_parts_ = 1;
  int parts_each_ = 1;  // of each of the row parts
};

}  // namespace rnncore
