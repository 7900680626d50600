// The microkernel: a few rows times a few panels of packed weights, accumulated in registers.
#pragma once

#include "core/function_ref.hpp"
#include "core/simd.hpp"
#include "core/types.hpp"
#include "gemm/columns.hpp"

namespace rnncore {

// Accumulators that leave registers for the operands (register_tile.hpp counts them): 24 of
// AVX-512's 32, 12 of AVX2's 16; without fused multiply-adds products need registers too.
inline constexpr int max_accumulators = simd_registers == 32 ? 24 : has_fused_madd ? 12 : 8;

// Panels of several gates are what a cell's weights are; those of one are everything else.
inline constexpr int max_gates = 4;
constexpr bool has_microkernel(Index gates) {
  return gates >= 1 && gates <= max_gates;
}

// The block of sums that keeps all accumulators busy, of panels of one gate.
inline constexpr Index block_panels = 4, block_rows = max_accumulators / block_panels;

// Receives the sums of a block of rows and panels, [row][panel][gate][lane].
template <class T>
using BlockSums =
    FunctionRef<void(Index first_row, Index rows, Index first_panel, int panels, const T* sums)>;

// Passes a times some of the packed panels to `receive`, block by block: sums over k of
// a[row * stride + k] * panel[k][gate][lane], cut as columns.hpp says whatever the block, on which
// the bits then do not depend. Panels come outermost, so that one is read from beyond L2 once;
// `backwards`: from the last. Every other pass over the same ones then starts with those that the
// cache still holds.
template <class T>
using PanelProduct = void (*)(const T* a, Index stride, const Columns& columns, const T* packed,
                              Index rows, Range panels, bool backwards,
                              const BlockSums<T>& receive);

// That of panels of so many gates.
template <class T>
PanelProduct<T> panel_product(Index gates);

}  // namespace rnncore
