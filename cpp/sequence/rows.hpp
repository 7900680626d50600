// Rows of a sequence in the order of the schedule: gathered for the merged products, scattered
// back.
#pragma once

#include <algorithm>
#include <cstring>

#include "cells/cell.hpp"
#include "core/arena.hpp"
#include "gemm/columns.hpp"
#include "sequence/schedule.hpp"

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
  if (schedule.reordered() || !merged || stride < features) return {};
  return {sequence.data, steps * batch, features, stride};
}

// Calls f(row of the chunk, step, row) for this worker's share of the rows of [begin, end) steps.
template <class F>
void for_rows(const Worker& worker, const Schedule& schedule, Index begin, Index end, F&& f) {
  const Index base = schedule.offset(begin);
  const Range mine = worker.share(schedule.offset(end) - base);
  Index step = begin;
  for (Index i = mine.begin; i < mine.end; ++i) {
    while (schedule.offset(step + 1) - base <= i) ++step;
    f(i, step, i - (schedule.offset(step) - base));
  }
}

template <class T>
void gather(const Worker& worker, const Schedule& schedule, const Sequence<const T>& from,
            Index begin, Index end, T* to) {
  for_rows(worker, schedule, begin, end, [&](Index i, Index step, Index row) {
    std::copy_n(from.row(schedule.time(step, row), schedule.sequence(row)), from.features,
                to + i * from.features);
  });
}

template <class T>
void scatter(const Worker& worker, const Schedule& schedule, const T* from, Index begin, Index end,
             const Sequence<T>& to) {
  for_rows(worker, schedule, begin, end, [&](Index i, Index step, Index row) {
    std::copy_n(from + i * to.features, to.features,
                to.row(schedule.time(step, row), schedule.sequence(row)));
  });
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

  // Called by every worker; if it gathers, a barrier must follow.
  bool gathers() const { return from_ && !rows_; }
  Matrix<const T> at(const Worker& worker, Range steps) const {
    const Index first = schedule_.offset(steps.begin), rows = schedule_.offset(steps.end) - first;
    if (!from_) return {};
    if (rows_) return {rows_.row(first), rows, rows_.cols, rows_.stride};
    gather(worker, schedule_, from_, steps.begin, steps.end, gathered_);
    return {gathered_, rows, from_.features, from_.features};
  }

 private:
  const Schedule& schedule_;
  const Sequence<const T> from_;
  const Matrix<const T> rows_;
  const Index chunk_;
  T* gathered_ = nullptr;
};

// The same for a sequence that is written: `to`, and then `finish`.
template <class T>
class OutputRows {
 public:
  OutputRows(const Schedule& schedule, const Sequence<T>& to, Index chunk)
      : schedule_(schedule), to_(to), rows_(as_rows(schedule, to)), chunk_(chunk) {}

  void plan(ArenaPlan& plan) {
    if (to_ && !rows_) plan.array(scattered_, checked_mul(chunk_, to_.features));
  }

  Matrix<T> at(Range steps) const {
    const Index first = schedule_.offset(steps.begin), rows = schedule_.offset(steps.end) - first;
    if (rows_) return {rows_.row(first), rows, rows_.cols, rows_.stride};
    return {scattered_, rows, to_.features, to_.features};
  }

  // Called by every worker when it has written its share.
  void finish(const Worker& worker, Range steps) const {
    if (rows_) return;
    worker.barrier();
    scatter(worker, schedule_, scattered_, steps.begin, steps.end, to_);
  }

 private:
  const Schedule& schedule_;
  const Sequence<T> to_;
  const Matrix<T> rows_;
  const Index chunk_;
  T* scattered_ = nullptr;
};

// Zeros beyond the end of each sequence of this worker's rows.
template <class T>
void zero_padding(const Schedule& schedule, Range rows, const Sequence<T>& sequence) {
  for (Index row = rows.begin; row < rows.end; ++row) {
    for (Index t = schedule.length(row); t < sequence.steps; ++t) {
      std::fill_n(sequence.row(t, schedule.sequence(row)), sequence.features, T(0));
    }
  }
}

// The tape columns that meet R, in the order of its rows.
template <class Cell>
Columns recurrent_columns(Index hidden) {
  Columns columns;
  std::size_t i = 0;
  for (const Run& run : Wiring<Cell>::runs('h')) {
    columns.begin[i] = run.slot * hidden;
    columns.size[i++] = run.count * hidden;
  }
  return columns;
}

}  // namespace rnncore
