// The loop behind apply_function.hpp.
#include "cells/apply_function.hpp"

#include <algorithm>

#include "cells/chosen.hpp"

namespace rnncore {

template <class T>
void apply_function(const GateFunction& function, double clip, const T* z, Index count, T* y,
                    T* dz) {
  using V = Simd<T>;
  const ChosenFunction chosen{function, clip};
  for (Index i = 0; i < count; i += V::width) {
    const Partial<T> lanes{std::min<Index>(V::width, count - i)};
    const V kept = lanes.load(z + i), value = chosen.value(kept);
    lanes.store(value, y + i);
    lanes.store(chosen.gradient(V::broadcast(1), kept, value), dz + i);
  }
}

template void apply_function(const GateFunction&, double, const float*, Index, float*, float*);
template void apply_function(const GateFunction&, double, const double*, Index, double*, double*);

}  // namespace rnncore
