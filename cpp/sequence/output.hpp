// Output recurrence: y_t = phi(P h_t + Q f_t + b_o), where f_t gathers what the outputs before fed
// back: f_t = [v_{t-d} for every delay d], v = y, or the given target where one is to feed back.
#pragma once

#include <string_view>
#include <vector>

#include "sequence/args.hpp"

namespace rnncore {

enum class Activation { identity, tanh, sigmoid, softmax };

// Readout and feedback of a stack of layers; U (weight_oh) is the first layer's.
template <class T>
struct OutputArgs {
  Index outputs = 0;                             // O
  std::vector<Index> delays;                     // each >= 1; F = O * their number
  Index memory = 0;                              // D: the longest delay
  Activation activation = Activation::identity;  // phi
  Matrix<const T> weight_ho;                     // P (O, H)
  Matrix<const T> weight_oo;                     // Q (O, F), or empty
  const T* bias = nullptr;                       // (O,) or null
  Sequence<const T> targets;                     // (T, B, O), or empty
  const std::uint8_t* given = nullptr;           // (T, B): 1 = the target feeds back; or null
};

// What backward needs of forward besides the layers' tapes; rows in the schedule's order.
template <class T>
struct OutputTape {
  T* y = nullptr;    // (L, B, O)
  T* fed = nullptr;  // (D+L, B, O): v; slots 0..D-1 hold the initial values
};

// A stack: `layers` from the input up, whose y is empty and whose x is but for the first.
template <class T>
struct OutputForwardArgs {
  std::vector<ForwardArgs<T>> layers;
  OutputArgs<T> output;
  Sequence<const T> y_0;  // (D, B, O): v before the first step, oldest first
  Sequence<T> y;          // (T, B, O), zero beyond a sequence's end
  Sequence<T> y_n;        // (D, B, O): the last values of v
  OutputTape<T> tape;     // empty for inference
};

template <class T>
struct OutputBackwardArgs {
  std::vector<BackwardArgs<T>> layers;  // dy empty
  OutputArgs<T> output;
  const T *y = nullptr, *fed = nullptr;  // the tape's
  Sequence<const T> dy;                  // (T, B, O)
  Sequence<const T> dy_n;                // (D, B, O), or empty: zeros
  Sequence<T> dy_0;                      // (D, B, O) =
  Matrix<T> dweight_ho, dweight_oo;      // +=
  T* dbias = nullptr;                    // += , or null
};

// The closed loop, with given targets in place of outputs where the mask says so.
template <class T>
void output_forward(std::string_view cell, const OutputForwardArgs<T>& args);

template <class T>
void output_backward(std::string_view cell, const OutputBackwardArgs<T>& args);

}  // namespace rnncore
