// Rows of a sequence in the order of the schedule: gathered for the merged products, scattered
// back.
#pragma once

#include <algorithm>
#include <cstring>

#include "cells/cell.hpp"
#include "gemm/tile.hpp"
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
