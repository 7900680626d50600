// The two passes over a sequence, for every cell of the table and float or double.
#pragma once

#include <string_view>

#include "sequence/args.hpp"

namespace rnncore {

template <class T>
void forward(std::string_view cell, const ForwardArgs<T>& args);

// States that a tape with `recompute` keeps: one before each segment.
template <class T>
Index segments(std::string_view cell, const LayerArgs<T>& args);

// Adds to the parameter gradients, assigns the others, and leaves dz in the tape's gates.
template <class T>
void backward(std::string_view cell, const BackwardArgs<T>& args);

}  // namespace rnncore
