"""Teacher forcing: all that feeds back is given, so that P, Q and U meet all steps at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnncore._memory import empty, zeros
from rnncore._native.layer import Feedback
from rnncore._native.linear import (
    activate,
    activate_backward,
    linear_backward,
    linear_forward,
    rows,
)
from rnncore._types import Array, Lengths
from rnncore.layers._call import Call
from rnncore.layers._engine import Engine
from rnncore.layers._layer_by_layer import Plain, StackTape
from rnncore.layers._layout import Layout, new_sequences
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.state import StackState


@dataclass(eq=False, repr=False)
class TeacherForcedTape:
    """What backward needs of a run whose fed values were all given, or that has no feedback."""

    stack: StackTape
    h: Array  # (T, B, H), of the last layer
    fed: Array | None  # f (T, B, F); None without feedback
    y: Array  # (T, B, O), contiguous

    @property
    def used(self) -> bool:
        """Whether a kernel of the stack has overwritten its part."""
        return self.stack.used


class TeacherForced(Engine):
    """The layers on the given values, then readout and activation for all steps at once."""

    def __init__(self, spec: StackSpec, parameters: StackArrays, gradients: StackArrays) -> None:
        assert spec.readout is not None
        assert parameters.readout is not None
        assert gradients.readout is not None
        self._spec, self._readout = spec, spec.readout
        self._weights, self._gradients = parameters.readout, gradients.readout
        self._stack = Plain(spec, parameters, gradients)
        self.kernels = spec.depth + 2

    def infer(self, call: Call) -> tuple[Array, StackState]:
        """Return y and the final state."""
        y, last, _ = self._run(call, training=False)
        return y, last

    def forward(self, call: Call) -> tuple[Array, StackState, TeacherForcedTape]:
        """Return y, the final state and the tape."""
        y, last, tape = self._run(call, training=True)
        assert tape is not None
        return y, last, tape

    def _run(
        self, call: Call, *, training: bool
    ) -> tuple[Array, StackState, TeacherForcedTape | None]:
        T, B, _ = call.x.shape
        weights, y_0 = self._weights, call.state.y
        assert y_0 is not None
        history, fed = None, None
        if self._readout.feeds_back:
            assert call.targets is not None
            history = np.concatenate([y_0, call.targets])  # v (M+T, B, O)
            fed = self._gather(history, T)
            if call.lengths is not None:  # 0 da . f must be 0 there, even where a value is NaN
                fed[_padding(call.lengths, T)] = 0
        feedback = None if weights.weight_oh is None else Feedback(fed, weights.weight_oh)
        inner = call._replace(layout=Layout.TIME_FIRST)
        stack = StackTape(inner, []) if training else None
        h, last = self._stack.run(inner, stack, feedback)
        a = _linear(h, weights.weight_ho, weights.bias_o)
        if fed is not None and weights.weight_oo is not None:
            a += _linear(fed, weights.weight_oo, None)
        activate(self._readout.activation, a)
        outputs = a.reshape(T, B, self._readout.size)
        if call.lengths is not None:
            outputs[_padding(call.lengths, T)] = 0
        y = new_sequences(call.layout, outputs.shape, self._spec.dtype)
        y[...] = outputs
        if history is not None:
            y_0 = _last(history, len(y_0), call.lengths)
        tape = None if stack is None else TeacherForcedTape(stack, h, fed, outputs)
        return y, last._replace(y=y_0), tape

    def _gather(self, history: Array, T: int) -> Array:
        """Return f_t = [v_{t-d} for every delay d], (T, B, F)."""
        M = self._readout.longest_delay
        parts = [history[M - delay : M - delay + T] for delay in self._readout.delays]
        return np.concatenate(parts, axis=2)

    def backward(
        self, tape: TeacherForcedTape, dy: Array | None, dlast: StackState, dx: Array | None
    ) -> StackState:
        """Write dx; return the gradient of the initial state."""
        weights, gradients, dtype = self._weights, self._gradients, self._spec.dtype
        T, B, O = tape.y.shape  # noqa: E741
        lengths = tape.stack.call.lengths
        da = zeros(tape.y.shape, dtype) if dy is None else np.array(dy, order="C")
        if lengths is not None:
            da[_padding(lengths, T)] = 0
        dy_rows = da.reshape(T * B, O)
        activate_backward(self._readout.activation, tape.y.reshape(T * B, O), dy_rows)
        dh = empty(tape.h.shape, dtype)
        _linear_backward(
            tape.h, dh, weights.weight_ho, dy_rows, gradients.weight_ho, gradients.bias_o
        )
        dfed, feedback_gradient = None, None  # of the first steps: later ones see no initial value
        if tape.fed is not None:
            seen = min(T, self._readout.longest_delay)
            dfed = zeros((seen, *tape.fed.shape[1:]), dtype)
        if weights.weight_oh is not None:
            feedback_gradient = Feedback(dfed, gradients.weight_oh)
        first = self._stack.backward(tape.stack, dh, dlast, dx, feedback_gradient)
        if dfed is not None and weights.weight_oo is not None:
            assert tape.fed is not None
            assert gradients.weight_oo is not None
            _linear_backward(tape.fed, None, weights.weight_oo, dy_rows, gradients.weight_oo, None)
            back = np.ascontiguousarray(weights.weight_oo.T)
            dfed += _linear(da[: len(dfed)], back, None).reshape(dfed.shape)
        return first._replace(y=self._initial_gradient(tape, dfed, dlast.y))

    def _initial_gradient(
        self, tape: TeacherForcedTape, dfed: Array | None, dy_n: Array | None
    ) -> Array:
        """Return the gradient of y_0 (M, B, O): of the steps, and a state, that still see it."""
        M, (T, B, O) = self._readout.longest_delay, tape.y.shape  # noqa: E741
        dy_0 = zeros((M, B, O), self._spec.dtype)
        if dfed is None:
            return dy_0
        for i, delay in enumerate(self._readout.delays):
            steps = min(delay, T)
            dy_0[M - delay : M - delay + steps] += dfed[:steps, :, i * O : (i + 1) * O]
        if dy_n is not None:
            lengths = tape.stack.call.lengths
            ends = np.full(B, T) if lengths is None else lengths
            for b, end in enumerate(ends.tolist()):
                if end < M:
                    dy_0[end:, b] += dy_n[: M - end, b]
        return dy_0


def _last(history: Array, M: int, lengths: Lengths | None) -> Array:
    """Return the last M values of v of each sequence, (M, B, O)."""
    if lengths is None:
        return history[len(history) - M :].copy()
    result: Array = history[lengths + np.arange(M)[:, None], np.arange(history.shape[1])]
    return result


def _padding(lengths: Lengths, T: int) -> Array:
    """Return (T, B), True behind each sequence's end."""
    padded: Array = np.arange(T)[:, None] >= lengths
    return padded


def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return x W^T + b as rows (T*B, O)."""
    return linear_forward(rows(np.ascontiguousarray(x)), weight, bias)


def _linear_backward(
    x: Array, dx: Array | None, weight: Array, dy: Array, dweight: Array, dbias: Array | None
) -> None:
    """Fill dx (..., I) from rows dy, and add into the others."""
    into = None if dx is None else rows(dx)
    linear_backward(rows(np.ascontiguousarray(x)), weight, dy, into, dweight, dbias)
