// The cell table: every cell that the library knows. A new cell is one file and one entry here.
#pragma once

#include <string_view>

#include "cells/gru.hpp"
#include "cells/lstm.hpp"
#include "cells/rnn.hpp"

namespace rnncore {

// Calls f(Cell{}) for every cell.
template <class F>
void for_each_cell(F&& f) {
  f(RnnTanh{});
  f(RnnRelu{});
  f(Lstm{});
  f(Gru{});
}

// Calls f(Cell{}) for the cell of that name.
template <class F>
void with_cell(std::string_view name, F&& f) {
  for_each_cell([&](auto cell) {
    if (name == cell.name) f(cell);
  });
}

}  // namespace rnncore
