// Weights that a time loop multiplies by at every step: PackedWeights of any cell's number of
// gates, compiled once, which hands its tiles to a function.
#pragma once

#include <type_traits>
#include <variant>

#include "cells/table.hpp"
#include "gemm/packed_weights.hpp"

namespace rnncore {

template <class T, bool by_columns>
class LoopWeights {
 public:
  // As PackedWeights, with `gates` as an argument: 1 of weights by columns.
  LoopWeights(Index gates, Matrix<const T> weights, const Columns& columns, Index rows,
              Precision precision, bool in_place = false);

  void plan_panels(ArenaPlan& plan);
  void plan_scratch(ArenaPlan& plan, int threads);
  void pack(Range panels);

  // Whether weights are read as they are stored.
  bool in_place() const;
  // Whether `multiply` uses the tile unit: a worker then opens a TileScope around its time loop.
  bool on_tiles() const;
  Index panels() const;

  // Calls f(context, ...) for every tile of `rows` x `panels`.
  void multiply(int rank, const T* a, Index stride, Index rows, Range panels, bool backwards,
                TileFunction<T> f, const void* context) const;

  // The same for f(first_row, rows, first_panel, panels, sums).
  template <class F>
  void multiply(int rank, const T* a, Index stride, Index rows, Range panels, bool backwards,
                const F& f) const {
    const auto call = [](const void* context, Index row, Index count, Index panel, int some,
                         const T* sums) {
      (*static_cast<const F*>(context))(row, count, panel, some, sums);
    };
    multiply(rank, a, stride, rows, panels, backwards, call, &f);
  }

 private:
  template <int Gates>
  using Packed = PackedWeights<T, Gates, by_columns>;
  using Any = std::conditional_t<by_columns, std::variant<std::monostate, Packed<1>>,
                                 std::variant<std::monostate, Packed<1>, Packed<3>, Packed<4>>>;

  // Applies f to the weights.
  template <class F>
  static decltype(auto) visit(auto& any, F&& f);

  Any packed_;
};

extern template class LoopWeights<float, false>;
extern template class LoopWeights<double, false>;
extern template class LoopWeights<float, true>;
extern template class LoopWeights<double, true>;

}  // namespace rnncore
