// Rows of a sequence in the order of the schedule: gathered for the merged products, scattered
// back, or met where they lie.
#pragma once

#include <algorithm>
#include <vector>

#include "cells/table.hpp"
#include "core/arena.hpp"
#include "recurrence/plan/schedule.hpp"

namespace rnncore {

// Rows that one merged product takes at a time: enough to repay the packing of its other operand,
// few enough that the rows stay in a second-level cache and the scratch memory bounded.
template <class T>
Index chunk_rows(Index row_elements) {
  constexpr Index cache = Index{1} << 20;
  return std::max<Index>(256, cache / Index{sizeof(T)} / std::max<Index>(row_elements, 1));
}

// The schedule's rows of `sequence` as one matrix, where its layout allows that; else empty.
template <class T>
Matrix<T> as_rows(const Schedule& schedule, const Sequence<T>& sequence) {
  const Index steps = sequence.steps, batch = sequence.batch, features = sequence.features;
  const Index stride = batch == 1 ? sequence.stride_t : sequence.stride_b;
  const bool merged = batch == 1 || steps == 1 || sequence.stride_t == batch * sequence.stride_b;
  const bool reordered = schedule.ragged() || schedule.reversed();
  if (reordered || !merged || stride < features) return {};
  return {sequence.data, steps * batch, features, stride};
}

// Calls f(row of the chunk, step, row) for this worker's share of the rows of the steps.
template <class F>
void for_rows(const Worker& worker, const Schedule& schedule, Range steps, F&& f) {
  const Index base = schedule.offset(steps.begin);
  const Range mine = worker.share(schedule.count(steps));
  Index step = steps.begin;
  for (Index i = mine.begin; i < mine.end; ++i) {
    while (schedule.offset(step + 1) - base <= i) ++step;
    f(i, step, i - (schedule.offset(step) - base));
  }
}

// The rows of a sequence at some steps as one matrix: read where they lie if the layout allows
// that, else gathered, at most `chunk` rows at once.
template <class T>
class InputRows {
 public:
  InputRows(const Schedule& schedule, const Sequence<const T>& from, Index chunk)
      : schedule_(schedule), from_(from), rows_(as_rows(schedule, from)), chunk_(chunk) {}

  void plan(ArenaPlan& plan) {
    if (gathers()) plan.array(gathered_, checked_mul(chunk_, from_.features));
  }

  bool gathers() const { return from_ && !rows_; }

  // Called for every part of a run that comes before `at`.
  void gather(const Worker& worker, Range steps) const {
    if (!gathers()) return;
    for_rows(worker, schedule_, steps, [&](Index i, Index step, Index row) {
      std::copy_n(from_.row(schedule_.time(step, row), schedule_.sequence(row)), from_.features,
                  gathered_ + i * from_.features);
    });
  }

  Matrix<const T> at(Range steps) const {
    if (!from_) return {};
    const Index count = schedule_.count(steps);
    if (rows_) return {rows_.row(schedule_.offset(steps.begin)), count, rows_.cols, rows_.stride};
    return {gathered_, count, from_.features, from_.features};
  }

 private:
  const Schedule& schedule_;
  const Sequence<const T> from_;
  const Matrix<const T> rows_;
  const Index chunk_;
  T* gathered_ = nullptr;
};

// The same for a sequence that is written: `at`, and then `scatter`.
template <class T>
class OutputRows {
 public:
  OutputRows(const Schedule& schedule, const Sequence<T>& to, Index chunk)
      : schedule_(schedule), to_(to), rows_(as_rows(schedule, to)), chunk_(chunk) {}

  void plan(ArenaPlan& plan) {
    if (scatters()) plan.array(scattered_, checked_mul(chunk_, to_.features));
  }

  Matrix<T> at(Range steps) const {
    const Index count = schedule_.count(steps);
    if (rows_) return {rows_.row(schedule_.offset(steps.begin)), count, rows_.cols, rows_.stride};
    return {scattered_, count, to_.features, to_.features};
  }

  bool scatters() const { return to_ && !rows_; }

  // Called for every part of a run that comes after what writes the rows.
  void scatter(const Worker& worker, Range steps) const {
    if (!scatters()) return;
    for_rows(worker, schedule_, steps, [&](Index i, Index step, Index row) {
      std::copy_n(scattered_ + i * to_.features, to_.features,
                  to_.row(schedule_.time(step, row), schedule_.sequence(row)));
    });
  }

 private:
  const Schedule& schedule_;
  const Sequence<T> to_;
  const Matrix<T> rows_;
  const Index chunk_;
  T* scattered_ = nullptr;
};

// The rows of a sequence step by step, where they lie.
template <class T>
class StepRows {
 public:
  StepRows(const Schedule& schedule, const Sequence<T>& sequence)
      : sequence_(sequence), schedule_(schedule) {
    if (!sequence || !schedule.ragged()) return;
    for (Index r = 0; r < schedule.batch(); ++r) {
      offsets_.push_back(schedule.sequence(r) * sequence.stride_b +
                         (schedule.reversed() ? schedule.length(r) * sequence.stride_t : 0));
    }
  }

  // Those at `step` from row `first` on; empty of an empty sequence.
  ScatteredRows<T> at(Index step, Index first) const {
    if (!sequence_) return {};
    if (!schedule_.ragged()) {
      T* const row = sequence_.row(schedule_.time(step, first), first);
      return {.data = row, .stride = sequence_.stride_b};
    }
    const Index shift = schedule_.reversed() ? -1 - step : step;
    return {.data = sequence_.data + shift * sequence_.stride_t,
            .offsets = offsets_.data() + first};
  }

 private:
  const Sequence<T> sequence_;
  const Schedule& schedule_;
  std::vector<Index> offsets_;  // of ragged rows: from the data at step 0 of a row that runs on
};

// Zeros beyond the end of each sequence of this worker's rows.
template <class T>
void zero_padding(const Schedule& schedule, Range rows, const Sequence<T>& sequence) {
  if (!sequence) return;
  for (Index row = rows.begin; row < rows.end; ++row) {
    for (Index t = schedule.length(row); t < sequence.steps; ++t) {
      std::fill_n(sequence.row(t, schedule.sequence(row)), sequence.features, T(0));
    }
  }
}

}  // namespace rnncore
