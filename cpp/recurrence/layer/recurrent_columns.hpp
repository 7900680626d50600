// The columns of dz, and so of the gates of a tape, that meet R.
#pragma once

#include "cells/table.hpp"
#include "gemm/columns.hpp"

namespace rnncore {

// In the order of R's rows. `part`: the slots that meet h or q, or r for both.
inline Columns recurrent_columns(const CellInfo& cell, Index hidden, char part) {
  Columns columns;
  std::size_t i = 0;
  for (const Run& run : cell.wiring.runs(part)) {
    columns.begin[i] = run.slot * hidden;
    columns.size[i++] = run.count * hidden;
  }
  return columns;
}

}  // namespace rnncore
