"""Teacher forcing: all that feeds back is given, so that P, Q and U meet all steps at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnncore._memory import empty, zeros
from rnncore._native.layer import Feedback, Resets
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


def all_known(spec: StackSpec, call: Call) -> bool:
    """Whether nothing that feeds back has to wait for an output: then `TeacherForced` runs it."""
    return not spec.feeds_back or (call.targets is not None and call.from_targets is None)


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
            if call.resets is not None:
                self._start_anew(fed, y_0, call.resets)
            if call.lengths is not None:  # 0 da . f must be 0 there, even where a value is NaN
                fed[_padding(call.lengths, T)] = 0
        feedback = None if weights.weight_oh is None else Feedback(fed, weights.weight_oh)
        inner = call._replace(layout=Layout.TIME_FIRST)
        stack = StackTape(inner, []) if training else None
        h, last = self._stack.run(inner, stack, feedback)
        invariant = call.batch_invariant
        a = _linear(h, weights.weight_ho, weights.bias_o, batch_invariant=invariant)
        if fed is not None and weights.weight_oo is not None:
            a += _linear(fed, weights.weight_oo, None, batch_invariant=invariant)
        activate(self._readout.activation, a)
        outputs = a.reshape(T, B, self._readout.size)
        if call.lengths is not None:
            outputs[_padding(call.lengths, T)] = 0
        y = new_sequences(call.layout, outputs.shape, self._spec.dtype)
        y[...] = outputs
        if history is not None:
            y_0 = _last(history, len(y_0), call)
        tape = None if stack is None else TeacherForcedTape(stack, h, fed, outputs)
        return y, last._replace(y=y_0), tape

    def _gather(self, history: Array, T: int) -> Array:
        """Return f_t = [v_{t-d} for every delay d], (T, B, F)."""
        M = self._readout.longest_delay
        parts = [history[M - delay : M - delay + T] for delay in self._readout.delays]
        return np.concatenate(parts, axis=2)

    def _start_anew(self, fed: Array, y_0: Array, resets: Resets) -> None:
        """Put initial values into f (T, B, F) where a reset lies between a step and its past."""
        M, O = y_0.shape[0], y_0.shape[2]  # noqa: E741
        pieces = _pieces(len(fed), fed.shape[1], resets)
        for i, delay in enumerate(self._readout.delays):
            t, b = np.nonzero(pieces.age < delay)
            age, given = pieces.age[t, b], pieces.given[t, b, None]
            fed[t, b, i * O : (i + 1) * O] = np.where(given, y_0[M + age - delay, b], 0)

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
            seen = T if tape.stack.call.resets else min(T, self._readout.longest_delay)
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
        call = tape.stack.call
        pieces = _pieces(T, B, call.resets)
        age, given = pieces.age[: len(dfed)], pieces.given[: len(dfed)]
        for i, delay in enumerate(self._readout.delays):
            t, b = np.nonzero((age < delay) & given)
            np.add.at(dy_0, (M + age[t, b] - delay, b), dfed[t, b, i * O : (i + 1) * O])
        if dy_n is not None:
            length, last_given = _last_pieces(pieces, call.lengths)
            slot, b = np.nonzero((length + np.arange(M)[:, None] < M) & last_given)
            np.add.at(dy_0, (length[b] + slot, b), dy_n[slot, b])
        return dy_0


class _Pieces(NamedTuple):
    """Of each step (T, B) of sequences cut at resets."""

    age: Array  # steps of its piece before it
    given: Array  # whether y_0 stands before that piece, not zeros


def _pieces(T: int, B: int, resets: Resets | None) -> _Pieces:
    t = np.broadcast_to(np.arange(T)[:, None], (T, B))
    if resets is None:
        return _Pieces(t, np.ones((T, B), bool))
    given = ~np.logical_or.accumulate(resets.before, axis=0)
    begin = np.maximum.accumulate(np.where(resets.before, t, 0), axis=0)
    return _Pieces(t - begin, given | (resets.to == "state"))


def _last_pieces(pieces: _Pieces, lengths: Lengths | None) -> tuple[Array, Array]:
    """Return the length of each sequence's last piece, (B,), and whether y_0 stands before it."""
    T, B = pieces.age.shape
    ends = np.full(B, T) if lengths is None else lengths
    length, given = np.zeros(B, np.int64), np.ones(B, bool)
    b = np.nonzero(ends)[0]
    length[b], given[b] = pieces.age[ends[b] - 1, b] + 1, pieces.given[ends[b] - 1, b]
    return length, given


def _last(history: Array, M: int, call: Call) -> Array:
    """Return the last M values of v of each sequence, (M, B, O)."""
    if call.lengths is None and call.resets is None:
        return history[len(history) - M :].copy()
    T, B = len(history) - M, history.shape[1]
    ends = np.full(B, T) if call.lengths is None else call.lengths
    result: Array = history[ends + np.arange(M)[:, None], np.arange(B)]
    if call.resets is not None:
        length, given = _last_pieces(_pieces(T, B, call.resets), call.lengths)
        slot, b = np.nonzero(length + np.arange(M)[:, None] < M)
        result[slot, b] = np.where(given[b, None], history[length[b] + slot, b], 0)
    return result


def _padding(lengths: Lengths, T: int) -> Array:
    """Return (T, B), True behind each sequence's end."""
    padded: Array = np.arange(T)[:, None] >= lengths
    return padded


def _linear(x: Array, weight: Array, bias: Array | None, *, batch_invariant: bool = False) -> Array:
    """Return x W^T + b as rows (T*B, O)."""
    flat = rows(np.ascontiguousarray(x))
    return linear_forward(flat, weight, bias, batch_invariant=batch_invariant)


def _linear_backward(
    x: Array, dx: Array | None, weight: Array, dy: Array, dweight: Array, dbias: Array | None
) -> None:
    """Fill dx (..., I) from rows dy, and add into the others."""
    into = None if dx is None else rows(dx)
    linear_backward(rows(np.ascontiguousarray(x)), weight, dy, into, dweight, dbias)
