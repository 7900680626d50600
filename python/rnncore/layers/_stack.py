"""A stack of layers in one or two directions: all steps of one layer, then those of the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore._memory import empty, zeros
from rnncore._native import closed_loop as _output_kernels
from rnncore._native import layer as _kernels
from rnncore._native.closed_loop import LoopSlopes, LoopState
from rnncore._native.layer import Given
from rnncore._types import Array, Lengths
from rnncore.layers._layout import Form, new_sequences

if TYPE_CHECKING:
    from rnncore.layers._recurrent import Recurrent

Kernel = _kernels.Tape | _output_kernels.LoopTape


@dataclass(eq=False, repr=False)
class StackTape:
    """What backward needs of one forward through the stack."""

    kernels: list[Kernel]  # layer by layer, the forward direction first
    masks: list[Array]  # of dropout, one between each two layers; empty without dropout
    form: Form
    lengths: Lengths | None


def forward(
    layer: Recurrent[Any],
    form: Form,
    x: Array,
    lengths: Lengths | None,
    h_0: Array,
    c_0: Array | None,
    *,
    training: bool,
    recompute: int = 0,
    given: Given | None = None,
) -> tuple[Array, Array, Array | None, StackTape]:
    """Return y (T, B, D*width), h_n and c_n (num_layers*D, B, ...), and the tape.

    `given` goes into the first layer. Without training the tape is empty.
    """
    T, B, _ = x.shape
    width, D = layer._width, layer._directions
    h_n = empty(h_0.shape, layer.dtype)
    c_n = None if c_0 is None else empty(c_0.shape, layer.dtype)
    tape = StackTape([], [], form, lengths)
    y = x
    for index in range(layer.num_layers):
        if index > 0 and training and layer._drops:
            tape.masks.append(_dropout_mask(layer, y.shape))
            y *= tape.masks[-1]
        x, y = y, new_sequences(form, T, B, D * width, layer.dtype)
        for direction in range(D):
            k = index * D + direction
            part = y[..., direction * width : (direction + 1) * width]
            if layer._projections:
                assert c_0 is not None
                assert c_n is not None
                kernel = _project(
                    layer, k, x, h_0[k], c_0[k], lengths, direction == 1, part, h_n[k], c_n[k],
                    training,
                )  # fmt: skip
                if kernel is not None:
                    tape.kernels.append(kernel)
                continue
            c_0k, c_nk = (None, None) if c_0 is None or c_n is None else (c_0[k], c_n[k])
            call = (
                layer._cell, x, h_0[k], c_0k, layer._weights[k], lengths, direction == 1,
                part, h_n[k], c_nk,
            )  # fmt: skip
            own = given if k == 0 else None
            if training:
                tape.kernels.append(_kernels.forward(*call, recompute, own))
            else:
                cache = None if layer._weights[k].weight_hh is None else layer._caches[k]
                _kernels.infer(*call, cache, own)
    return y, h_n, c_n, tape


def _project(
    layer: Recurrent[Any],
    k: int,
    x: Array,
    r_0: Array,
    c_0: Array,
    lengths: Lengths | None,
    reverse: bool,
    y: Array,
    r_n: Array,
    c_n: Array,
    training: bool,
) -> _output_kernels.LoopTape | None:
    """Run an LSTM with projection: its output r = P h feeds back through U, and there is no R."""
    loop = layer._loop(k, reverse)
    h = zeros((1, *c_0.shape), layer.dtype)  # h before the first step, which nothing reads
    first = LoopState(h, c_0[None], r_0[None])
    last = LoopState(np.empty_like(h), c_n[None], r_n[None])
    return _output_kernels.forward(loop, x, first, lengths, None, None, y, last, training=training)


def _dropout_mask(layer: Recurrent[Any], shape: tuple[int, ...]) -> Array:
    """Return 1 / (1 - p) where kept, else 0: inverted dropout keeps the mean."""
    kept = layer.rng.random(shape, dtype=layer.dtype) >= layer.dropout
    mask: Array = kept * layer.dtype.type(1 / (1 - layer.dropout))
    return mask


def backward(
    layer: Recurrent[Any],
    tape: StackTape,
    dy: Array | None,
    dh_n: Array | None,
    dc_n: Array | None,
    *,
    input_gradient: bool,
    dfed: Array | None = None,
) -> tuple[Array | None, Array, Array | None]:
    """Return dx (T, B, I), dh_0 and dc_0; fill `dfed`, the gradient of what was given."""
    T, B, _ = tape.kernels[0].x.shape
    K, D = len(tape.kernels), layer._directions
    dh_0 = empty((K, B, layer._width), layer.dtype)
    dc_0 = empty((K, B, layer.hidden_size), layer.dtype) if layer._cell.has_c else None
    for index in reversed(range(layer.num_layers)):
        if index < layer.num_layers - 1 and tape.masks:
            assert dy is not None
            dy *= tape.masks[index]
        total: Array | None = None
        for direction in range(D):
            k = index * D + direction
            part = slice(direction * layer._width, (direction + 1) * layer._width)
            kernel = tape.kernels[k]
            wanted = index > 0 or input_gradient
            dx = new_sequences(tape.form, T, B, kernel.x.shape[2], layer.dtype) if wanted else None
            _backward_one(
                layer, k, kernel, None if dy is None else dy[..., part],
                None if dh_n is None else dh_n[k], None if dc_n is None else dc_n[k],
                dx, dh_0[k], None if dc_0 is None else dc_0[k], dfed if k == 0 else None,
            )  # fmt: skip
            if total is None or dx is None:
                total = dx
            else:
                total += dx
        dy = total
    return dy, dh_0, dc_0


def _backward_one(
    layer: Recurrent[Any],
    k: int,
    kernel: Kernel,
    dy: Array | None,
    dh_n: Array | None,
    dc_n: Array | None,
    dx: Array | None,
    dh_0: Array,
    dc_0: Array | None,
    dfed: Array | None,
) -> None:
    """Run one layer in one direction backward."""
    if isinstance(kernel, _kernels.Tape):
        slope = layer._output_slopes.weight_oh if k == 0 and layer._output_slopes else None
        given = None if kernel.given is None else Given(dfed, slope)
        _kernels.backward(kernel, dy, dh_n, dc_n, layer._slopes[k], dx, dh_0, dc_0, given)
        return
    assert dc_0 is not None
    if dy is None:
        dy = zeros((len(kernel.x), *dh_0.shape), layer.dtype)
    h = empty((1, *dc_0.shape), layer.dtype)
    last = LoopSlopes(
        None, None if dc_n is None else dc_n[None], None if dh_n is None else dh_n[None]
    )
    first = LoopState(h, dc_0[None], dh_0[None])
    slopes, projection = layer._slopes[k], layer._projection_slopes[k]
    _output_kernels.backward(kernel, dy, last, [slopes], projection, dx, first)
