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

// Calls f(first row of the chunk, step, rows) for this worker's share of the rows of the steps.
template <class F>
void for_steps(const Worker& worker, const Schedule& schedule, Range steps, F&& f) {
  const Index base = schedule.offset(steps.begin);
  const Range mine = worker.share(schedule.count(steps));
  Index step = steps.begin;
  for (Index i = mine.begin; i < mine.end;) {
    while (schedule.offset(step + 1) - base <= i) ++step;
    const Index before = schedule.offset(step) - base;
    const Range rows{i - before, std::min(mine.end - before, schedule.active(step))};
    f(i, step, rows);
    i += rows.size();
  }
}

// The rows of a sequence step by step, where they lie.
template <class T>
class StepRows {
 public:
  StepRows(const Schedule& schedule, const Sequence<T>& sequence)
      : sequence_(sequence), schedule_(schedule) {
    if (!sequence || !schedule.ragged()) return;
    offsets_.reserve(static_cast<std::size_t>(schedule.rows()));
    for (Index r = 0; r < schedule.rows(); ++r) {
      const Index from = schedule.begin(r) + (schedule.reversed() ? schedule.length(r) : 0);
      offsets_.push_back(schedule.sequence(r) * sequence.stride_b + from * sequence.stride_t);
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

// The rows of a sequence at some steps as one matrix: read where they lie if the layout allows
// that, else gathered, at most `chunk` rows at once.
template <class T>
class InputRows {
 public:
  InputRows(const Schedule& schedule, const Sequence<const T>& from, Index chunk)
      : schedule_(schedule),
        from_(from),
        rows_(as_rows(schedule, from)),
        where_(schedule, rows_ ? Sequence<const T>{} : from),
        chunk_(chunk) {}

  // `rows`: of all steps, in the schedule's order.
  InputRows(const Schedule& schedule, const Matrix<const T>& rows)
      : schedule_(schedule), rows_(rows), where_(schedule, {}), chunk_(0) {}

  void plan(ArenaPlan& plan) {
    if (gathers()) plan.array(gathered_, checked_mul(chunk_, from_.features));
  }

  bool gathers() const { return from_ && !rows_; }

  // Called for every part of a run that comes before `at`.
  void gather(const Worker& worker, Range steps) const {
    if (!gathers()) return;
    const Index features = from_.features;
    for_steps(worker, schedule_, steps, [&](Index first, Index step, Range rows) {
      const ScatteredRows<const T> at = where_.at(step, rows.begin);
      for (Index r = 0; r < rows.size(); ++r) {
        if (r + ahead < rows.size()) __builtin_prefetch(at.row(r + ahead));
        std::copy_n(at.row(r), features, gathered_ + (first + r) * features);
      }
    });
  }

  Matrix<const T> at(Range steps) const {
    const Index count = schedule_.count(steps);
    if (!from_ && !rows_) return {};
    if (rows_) return {rows_.row(schedule_.offset(steps.begin)), count, rows_.cols, rows_.stride};
    return {gathered_, count, from_.features, from_.features};
  }

 private:
  static constexpr Index ahead = 4;  // to prefetch: rows of a step may lie anywhere

  const Schedule& schedule_;
  const Sequence<const T> from_;
  const Matrix<const T> rows_;
  const StepRows<const T> where_;
  const Index chunk_;
  T* gathered_ = nullptr;
};

// The same for a sequence that is written: `at`, and then `scatter`.
template <class T>
class OutputRows {
 public:
  OutputRows(const Schedule& schedule, const Sequence<T>& to, Index chunk)
      : schedule_(schedule),
        to_(to),
        rows_(as_rows(schedule, to)),
        where_(schedule, rows_ ? Sequence<T>{} : to),
        chunk_(chunk) {}

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
    for_steps(worker, schedule_, steps, [&](Index first, Index step, Range rows) {
      const ScatteredRows<T> to = where_.at(step, rows.begin);
      for (Index r = 0; r < rows.size(); ++r) {
        std::copy_n(scattered_ + (first + r) * to_.features, to_.features, to.row(r));
      }
    });
  }

 private:
  const Schedule& schedule_;
  const Sequence<T> to_;
  const Matrix<T> rows_;
  const StepRows<T> where_;
  const Index chunk_;
  T* scattered_ = nullptr;
};

// Zeros beyond the end of each sequence that ends with one of these rows.
template <class T>
void zero_padding(const Schedule& schedule, Range rows, const Sequence<T>& sequence) {
  if (!sequence) return;
  for (Index row = rows.begin; row < rows.end; ++row) {
    if (!schedule.ends(row)) continue;
    for (Index t = schedule.begin(row) + schedule.length(row); t < sequence.steps; ++t) {
      std::fill_n(sequence.row(t, schedule.sequence(row)), sequence.features, T(0));
    }
  }
}

}  // namespace rnncore
