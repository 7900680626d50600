"""Teacher forcing: what feeds back is given, so that P, Q and U meet all steps at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore._memory import empty, zeros
from rnncore._native.closed_loop import LoopSlopes, LoopState
from rnncore._native.isa import core
from rnncore._native.layer import Given
from rnncore._types import Array, Lengths
from rnncore.layers import _stack
from rnncore.layers._layout import Form

if TYPE_CHECKING:
    from rnncore.layers._recurrent import Recurrent


@dataclass(frozen=True)
class Call:
    """The arguments of one call, checked, in the kernels' layout."""

    form: Form
    x: Array  # (T, B, I)
    lengths: Lengths | None
    state: LoopState
    targets: Array | None  # (T, B, O)
    given: Array | None  # bool (T, B), where targets feed back; None with targets = everywhere


@dataclass(eq=False, repr=False)
class ForcedTape:
    """What backward needs of a run whose fed values were all given, or that has no feedback."""

    stack: _stack.StackTape
    lengths: Lengths | None
    h: Array  # (T, B, H), of the last layer
    fed: Array | None  # f (T, B, F); None without feedback
    y: Array  # (T, B, O), contiguous

    @property
    def used(self) -> bool:
        """Whether a kernel of the stack has overwritten its part."""
        return any(kernel.used for kernel in self.stack.kernels)


def run(
    layer: Recurrent[Any], call: Call, y: Array, *, training: bool
) -> tuple[LoopState, ForcedTape | None]:
    """Run the layers on the given values, then P, Q and phi for all steps at once."""
    weights, lengths = layer._outer()[0], call.lengths
    history, fed = None, None
    if layer._output.feeds_back:
        assert call.targets is not None
        history = np.concatenate([call.state.y, call.targets])  # v (D+T, B, O)
        fed = _gather(layer, history, len(call.x))
        if lengths is not None:  # 0 da . f must be 0 there, even where a value is NaN
            fed[_padding(lengths, len(fed))] = 0
    given = None
    if weights.weight_oh is not None:
        given = Given(fed, weights.weight_oh)
    h, h_n, c_n, stack = _stack.forward(
        layer, Form.TIME_FIRST, call.x, lengths, call.state.h, call.state.c,
        training=training, given=given,
    )  # fmt: skip
    rows = _linear(h, weights.weight_ho, weights.bias_o)
    if fed is not None and weights.weight_oo is not None:
        rows += _linear(fed, weights.weight_oo, None)
    core.activate(layer._output.activation, rows)
    outputs = rows.reshape(y.shape)
    if lengths is not None:
        outputs[_padding(lengths, len(y))] = 0
    y[...] = outputs
    last = call.state.y if history is None else _last(history, call.state.y, lengths)
    tape = ForcedTape(stack, lengths, h, fed, outputs) if training else None
    return LoopState(h_n, c_n, last), tape


def _gather(layer: Recurrent[Any], history: Array, T: int) -> Array:
    """Return f_t = [v_{t-d} for every delay d], (T, B, F)."""
    delays, D = layer._output.delays, layer._output.memory
    return np.concatenate([history[D - d : D - d + T] for d in delays], axis=2)


def _last(history: Array, y_0: Array, lengths: Lengths | None) -> Array:
    """Return the last D values of v of each sequence, (D, B, O)."""
    D, B, _ = y_0.shape
    if lengths is None:
        return history[len(history) - D :].copy()
    result: Array = history[lengths + np.arange(D)[:, None], np.arange(B)]
    return result


def _padding(lengths: Lengths, T: int) -> Array:
    """Return (T, B), True behind each sequence's end."""
    padded: Array = np.arange(T)[:, None] >= lengths
    return padded


def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return x W^T + b as rows (T*B, O)."""
    N = math.prod(x.shape[:-1])
    rows = empty((N, len(weight)), x.dtype)
    core.linear_forward(_rows(x, N), weight, bias, rows)
    return rows


def _linear_backward(
    x: Array, dx: Array | None, weight: Array, dy: Array, dweight: Array, dbias: Array | None
) -> None:
    """Fill dx (..., I) from rows dy, and add into the others."""
    N = len(dy)
    into = None if dx is None else _rows(dx, N)
    core.linear_backward(_rows(x, N), weight, dy, into, dweight, dbias)


def _rows(x: Array, N: int) -> Array:
    return np.ascontiguousarray(x).reshape(N, x.shape[-1])


def backward(
    layer: Recurrent[Any], tape: ForcedTape, dy: Array, dlast: LoopSlopes, *, input_gradient: bool
) -> tuple[Array | None, LoopState]:
    """Return dx and the gradient of the initial state; add into the layer's gradients."""
    weights, slopes = layer._outer()
    T, B, O = tape.y.shape  # noqa: E741
    da = np.array(dy, order="C")
    if tape.lengths is not None:
        da[_padding(tape.lengths, T)] = 0
    rows = da.reshape(T * B, O)
    core.activate_backward(layer._output.activation, tape.y.reshape(T * B, O), rows)
    saved = layer.flat_grads.copy()  # an error between two kernels must leave no half of a gradient
    try:
        dh = empty(tape.h.shape, layer.dtype)
        _linear_backward(tape.h, dh, weights.weight_ho, rows, slopes.weight_ho, slopes.bias_o)
        dfed = None  # of the first steps: later ones see no initial value
        if tape.fed is not None:
            seen = min(T, layer._output.memory)
            dfed = zeros((seen, *tape.fed.shape[1:]), layer.dtype)
        dx, dh_0, dc_0 = _stack.backward(
            layer, tape.stack, dh, dlast.h, dlast.c, input_gradient=input_gradient,
            dfed=None if weights.weight_oh is None else dfed,
        )  # fmt: skip
        if dfed is not None and weights.weight_oo is not None:
            assert tape.fed is not None
            assert slopes.weight_oo is not None
            _linear_backward(tape.fed, None, weights.weight_oo, rows, slopes.weight_oo, None)
            back = np.ascontiguousarray(weights.weight_oo.T)
            dfed += _linear(da[: len(dfed)], back, None).reshape(dfed.shape)
        dy_0 = _initial_gradient(layer, tape, dfed, dlast.y)
    except BaseException:
        layer.flat_grads[...] = saved
        raise
    return dx, LoopState(dh_0, dc_0, dy_0)


def _initial_gradient(
    layer: Recurrent[Any], tape: ForcedTape, dfed: Array | None, dy_n: Array | None
) -> Array:
    """Return the gradient of y_0 (D, B, O): of the steps, and of a state, that still see it."""
    output = layer._output
    D, O, B = output.memory, output.size, tape.y.shape[1]  # noqa: E741
    dy_0 = zeros((D, B, O), layer.dtype)
    if dfed is None:
        return dy_0
    T = len(tape.y)
    for i, delay in enumerate(output.delays):
        steps = min(delay, T)
        dy_0[D - delay : D - delay + steps] += dfed[:steps, :, i * O : (i + 1) * O]
    if dy_n is not None:
        ends = np.full(B, T) if tape.lengths is None else tape.lengths
        for b, end in enumerate(ends.tolist()):
            if end < D:
                dy_0[end:, b] += dy_n[: D - end, b]
    return dy_0
