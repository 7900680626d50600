// One time step of one layer for a few sequences, without scratch memory or packing.
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
};

// Sequences that one step takes.
inline constexpr Index max_step_rows = 4;

// Called for every part of a run; each computes its share of the units.
template <class T>
void step(const Worker& worker, const StepArgs<T>& args);

}  // namespace rnncore
