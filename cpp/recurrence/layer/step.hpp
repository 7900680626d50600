// One time step of one layer for a few sequences, without packing.
#pragma once

#include <optional>

#include "cells/table.hpp"
#include "core/parallel.hpp"
#include "recurrence/layer/layer.hpp"

namespace rnncore {

template <class T>
struct StepArgs {
  const CellInfo* cell = nullptr;
  std::optional<CellChoice> choice;   // none: the cell's usual functions
  Matrix<const T> x;                  // (B, I)
  States<Matrix<const T>> state_0{};  // (B, H) each
  LayerWeights<const T> weights;      // no U
  Zoneout zoneout;                    // its expectation
  States<Matrix<T>> state_n{};        // (B, H)
  Matrix<T> gates{}, q{};             // (B, S*H) and (B, H), of a cell with two products
};

// Sequences that one step takes.
inline constexpr Index max_step_rows = 4;

// In front of `step`, of a cell with two products: q and the gates that meet h. Called for every
// part of a run; each computes its share of the units.
template <class T>
void reset_step(const Worker& worker, const StepArgs<T>& args);

// Called likewise, for a run of its own.
template <class T>
void step(const Worker& worker, const StepArgs<T>& args);

}  // namespace rnncore
