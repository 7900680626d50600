// A gate's function over many numbers, outside of any cell.
#pragma once

#include "cells/choice.hpp"
#include "core/types.hpp"

namespace rnncore {

// y = function(z) and dz = dL/dz for dL/dy = 1, with z bounded to [-clip, clip].
template <class T>
void apply_function(const GateFunction& function, double clip, const T* z, Index count, T* y,
                    T* dz);

}  // namespace rnncore
