// The cell table: every cell that the library knows. A new cell is one file and one entry here.
#include "cells/table.hpp"

#include "cells/chosen.hpp"
#include "cells/gru.hpp"
#include "cells/gru_reset_before.hpp"
#include "cells/kernels.hpp"
#include "cells/lstm.hpp"
#include "cells/reset_kernels.hpp"
#include "cells/rnn.hpp"
#include "gemm/microkernel.hpp"

namespace rnncore {
namespace {

template <Cell C>
constexpr auto unit_parameters_of = unit_parameters<C>();

template <Cell C, class T>
constexpr CellKernels<T> kernels() {
  CellKernels<T> all = Pointwise<C, T>::kernels();
  if constexpr (Resetting<C>) all.reset = ResetPointwise<C, T>::kernels();
  return all;
}

// Whether there are microkernels for the products of a step; that of R and q comes last.
template <Cell C>
constexpr bool has_microkernels() {
  constexpr Wiring wiring(C::wiring);
  return has_microkernel(wiring.count('h')) &&
         (!wiring.has_reset() || has_microkernel(wiring.count('q')));
}

// A cell with its usual functions, and the same with chosen ones.
template <Cell C, Cell WithChoice>
constexpr CellInfo row() {
  static_assert(has_microkernels<C>(), "add the number of gates to gemm/microkernel");
  return {.name = C::name,
          .gate_letters = C::gates,
          .slot_letters = C::wiring,
          .states = C::states,
          .unit_parameters = unit_parameters_of<C>,
          .wiring = Wiring(C::wiring),
          .functions = C::functions,
          .gates = C::gates.size(),
          .slots = C::wiring.size(),
          .unit_rows = unit_rows<C>(),
          .float32 = kernels<C, float>(),
          .float64 = kernels<C, double>(),
          .chosen_float32 = kernels<WithChoice, float>(),
          .chosen_float64 = kernels<WithChoice, double>()};
}

template <bool peephole, bool coupled>
constexpr CellInfo lstm_row() {
  return row<Lstm<peephole, coupled>, Lstm<peephole, coupled, Chosen>>();
}

constexpr CellInfo table[] = {row<Rnn<Fixed<Tanh>>, Rnn<Chosen>>(),
                              row<Rnn<Fixed<Relu>>, Rnn<Chosen>>(),
                              lstm_row<false, false>(),
                              lstm_row<true, false>(),
                              lstm_row<false, true>(),
                              lstm_row<true, true>(),
                              row<Gru<>, Gru<Chosen>>(),
                              row<GruResetBefore<>, GruResetBefore<Chosen>>()};

}  // namespace

std::span<const CellInfo> cell_table() {
  return table;
}

const CellInfo* find_cell(std::string_view name) {
  for (const CellInfo& cell : table) {
    if (cell.name == name) return &cell;
  }
  return nullptr;
}

}  // namespace rnncore
