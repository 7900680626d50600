// Output recurrence: y_t = phi(P h_t + Q f_t + b_o), where f_t gathers what the outputs before fed
// back: f_t = [v_{t-d} for every delay d], v = y, or the target where one is to feed back.
#pragma once

#include <vector>

#include "recurrence/layer/layer.hpp"

namespace rnncore {

enum class Activation { identity, tanh, sigmoid, softmax };

// A row of O pre-activations becomes one of outputs.
template <class T>
void activate(Activation activation, T* row, Index count);

// da = (dphi/da)^T dy in place of dy, from the outputs y.
template <class T>
void activate_backward(Activation activation, const T* y, T* dy, Index count);

// Parameters of the readout, or their gradients; U (weight_oh) is the first layer's.
template <class T>
struct ReadoutWeights {
  Matrix<T> weight_ho;  // P (O, H)
  Matrix<T> weight_oo;  // Q (O, F), or empty
  T* bias = nullptr;    // (O,) or null
};

// Readout and feedback of a stack of layers.
template <class T>
struct FeedbackArgs {
  Index outputs = 0;          // O
  std::vector<Index> delays;  // each >= 1; F = O * their number
  Index longest_delay = 0;
  Activation activation = Activation::identity;  // phi
  ReadoutWeights<const T> weights;
  Sequence<const T> targets;                      // (T, B, O), or empty
  const std::uint8_t* teacher_forcing = nullptr;  // (T, B): 1 = the target feeds back; or null

  // Whether the target of a sequence feeds back, not its output.
  bool feeds_target(Index time, Index batch, Index sequence) const {
    return teacher_forcing != nullptr && teacher_forcing[time * batch + sequence] != 0;
  }
};

// What backward needs of forward besides the layers' tapes; rows in the schedule's order.
template <class T>
struct ReadoutTape {
  T* y = nullptr;    // (N, O)
  T* fed = nullptr;  // (longest delay * R + N, O): v, FedRows
};

// Where v lies in an array without padding: the initial values of all rows, oldest first, then
// those of each step.
struct FedRows {
  const Schedule& schedule;
  Index longest_delay;

  // v of step t has slot longest_delay + t.
  Index at(Index slot, Index row) const {
    return (slot < longest_delay
                ? slot * schedule.rows()
                : longest_delay * schedule.rows() + schedule.offset(slot - longest_delay)) +
           row;
  }
  Index count() const {
    return checked_add(checked_mul(longest_delay, schedule.rows()), schedule.valid_steps());
  }
};

// A stack: `layers` from the input up, whose y is empty and whose x is but for the first.
template <class T>
struct ClosedLoopForwardArgs {
  std::vector<ForwardArgs<T>> layers;
  FeedbackArgs<T> feedback;
  Sequence<const T> y_0;  // (longest delay, B, O): v before the first step, oldest first
  Sequence<T> y;          // (T, B, O), zero beyond a sequence's end
  Sequence<T> y_n;        // (longest delay, B, O): the last values of v
  ReadoutTape<T> tape;    // null for inference
};

template <class T>
struct ClosedLoopBackwardArgs {
  std::vector<BackwardArgs<T>> layers;  // dy empty
  FeedbackArgs<T> feedback;
  ReadoutTape<const T> tape;
  Sequence<const T> dy;         // (T, B, O)
  Sequence<const T> dy_n;       // (longest delay, B, O), or empty: zeros
  Sequence<T> dy_0;             // (longest delay, B, O) =
  ReadoutWeights<T> gradients;  // +=
};

// The closed loop, with targets in place of outputs where the mask says so.
template <class T>
void closed_loop_forward(const ClosedLoopForwardArgs<T>& args);

template <class T>
void closed_loop_backward(const ClosedLoopBackwardArgs<T>& args);

}  // namespace rnncore
