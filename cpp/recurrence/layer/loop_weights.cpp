// The dispatch to the number of gates: the one place that names those of the cell table.
#include "recurrence/layer/loop_weights.hpp"

#include <cstdlib>

namespace rnncore {

template <class T, bool by_columns>
LoopWeights<T, by_columns>::LoopWeights(Index gates, Matrix<const T> weights,
                                        const Columns& columns, Index rows, Precision precision,
                                        bool in_place) {
  const auto pack_by = [&]<int Gates>(std::integral_constant<int, Gates>) {
    packed_.template emplace<Packed<Gates>>(weights, columns, rows, precision, in_place);
  };
  if (gates == 1) pack_by(std::integral_constant<int, 1>{});
  if constexpr (!by_columns) {
    if (gates == 3) pack_by(std::integral_constant<int, 3>{});
    if (gates == 4) pack_by(std::integral_constant<int, 4>{});
  }
  // A cell with another number of gates needs an alternative here.
  if (packed_.index() == 0) std::abort();
}

template <class T, bool by_columns>
template <class F>
decltype(auto) LoopWeights<T, by_columns>::visit(auto& any, F&& f) {
  if constexpr (by_columns) {
    return f(std::get<Packed<1>>(any));
  } else {
    if (auto* const three = std::get_if<Packed<3>>(&any)) return f(*three);
    if (auto* const four = std::get_if<Packed<4>>(&any)) return f(*four);
    return f(std::get<Packed<1>>(any));
  }
}

template <class T, bool by_columns>
void LoopWeights<T, by_columns>::plan_panels(ArenaPlan& plan) {
  visit(packed_, [&](auto& packed) { packed.plan_panels(plan); });
}

template <class T, bool by_columns>
void LoopWeights<T, by_columns>::plan_scratch(ArenaPlan& plan, int threads) {
  visit(packed_, [&](auto& packed) { packed.plan_scratch(plan, threads); });
}

template <class T, bool by_columns>
void LoopWeights<T, by_columns>::pack(Range panels) {
  visit(packed_, [&](auto& packed) { packed.pack(panels); });
}

template <class T, bool by_columns>
bool LoopWeights<T, by_columns>::in_place() const {
  return visit(packed_, [](const auto& packed) { return packed.in_place(); });
}

template <class T, bool by_columns>
bool LoopWeights<T, by_columns>::on_tiles() const {
  return visit(packed_, [](const auto& packed) { return packed.on_tiles(); });
}

template <class T, bool by_columns>
Index LoopWeights<T, by_columns>::panels() const {
  return visit(packed_, [](const auto& packed) { return packed.panels(); });
}

template <class T, bool by_columns>
void LoopWeights<T, by_columns>::multiply(int rank, const T* a, Index stride, Index rows,
                                          Range panels, bool backwards, TileFunction<T> f,
                                          const void* context) const {
  visit(packed_, [&](const auto& packed) {
    packed.multiply(rank, a, stride, rows, panels, backwards,
                    [&](Index row, Index count, Index panel, int some, const T* sums) {
                      f(context, row, count, panel, some, sums);
                    });
  });
}

template class LoopWeights<float, false>;
template class LoopWeights<double, false>;
template class LoopWeights<float, true>;
template class LoopWeights<double, true>;

}  // namespace rnncore
