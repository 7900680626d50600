// The right operand of a time loop on the tile unit: split and packed once.
#pragma once

#include "core/arena.hpp"
#include "gemm/bf16/tile_unit.hpp"
#include "gemm/microkernel.hpp"
#include "gemm/precision.hpp"
#include "gemm/weight_layout.hpp"

namespace rnncore {

// Strip [panel][gate] covers the gate's columns of that panel; its depth runs over both runs of
// `Columns`, each a whole number of blocks. All parts stay, also where they outgrow the
// second-level cache. Defined where there is a tile unit.
class SplitWeights {
 public:
  // At most `rows` rows meet the weights at once.
  SplitWeights(const WeightLayout<float>& layout, Index rows, Precision precision);

  void plan_panels(ArenaPlan& plan);
  void plan_scratch(ArenaPlan& plan, int threads);
  void pack(Range panels);
  void multiply(int thread, const float* a, Index stride, Index rows, Range panels, bool backwards,
                const BlockSums<float>& receive) const;

 private:
  Bf16* strips(Index panel) const {
    return reinterpret_cast<Bf16*>(packed_) + panel * layout_.gates * strip_;
  }
  template <int Parts>
  void pack_gate(Index panel, Index gate, Bf16* to) const;
  template <int Parts>
  void pack_rows(const float* a, Index stride, Index rows, Bf16* to) const;
  template <int Parts>
  void multiply_parts(const Bf16* left, Index rows, Range panels,
                      const BlockSums<float>& receive) const;

  const WeightLayout<float> layout_;
  const int parts_;
  Index strip_ = 0, left_each_ = 0;  // elements of a strip; floats of each worker's left operand
  float *packed_ = nullptr, *left_ = nullptr;
};

}  // namespace rnncore
