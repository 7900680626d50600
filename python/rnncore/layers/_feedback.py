"""Layers with outputs of their own: closed loop, given targets, or a mask of both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore._checks import as_array, as_booleans, as_numpy, check_shape, number
from rnncore._memory import empty, zeros
from rnncore._native import closed_loop as _output_kernels
from rnncore._native.closed_loop import LoopSlopes, LoopState, LoopTape
from rnncore._ragged import read_masks, side_by_side
from rnncore._types import Array, Lengths
from rnncore.layers import _forced
from rnncore.layers._forced import Call, ForcedTape
from rnncore.layers._layout import Form, as_user, new_sequences, read_dy
from rnncore.state import FeedbackState

if TYPE_CHECKING:
    from rnncore.layers._recurrent import Recurrent


@dataclass(eq=False, repr=False)
class OutputTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: Recurrent[Any]
    run: LoopTape | ForcedTape
    form: Form
    lengths: Lengths | None

    @property
    def used(self) -> bool:
        """Whether `backward` has consumed it, or a part of it before an error."""
        return self.run.used


def read(
    layer: Recurrent[Any],
    x: Any,
    state: Any,
    lengths: Any,
    y0: Any,
    targets: Any,
    teacher_forcing: Any,
    *,
    training: bool,
) -> Call:
    """Check the arguments of a call; errors name them."""
    output = layer._output
    hidden, kept = _split_state("state", layer, state)
    form, x, checked, h, c = layer._read(x, hidden, lengths)
    T, B, _ = x.shape
    y = _read_y("y0" if y0 is not None else "state.y", layer, kept if y0 is None else y0, B, form)
    if targets is not None:
        shape = (T, B, output.size)
        targets = read_dy(targets, form, shape, checked, layer.dtype, "targets", "O")
    forcing = _read_forcing(layer, teacher_forcing, targets, form, T, B, checked, training)
    if forcing is False or not output.feeds_back:  # then they change nothing
        targets = None
    given = None if targets is None or isinstance(forcing, bool) else forcing
    return Call(form, x, checked, LoopState(h, c, y), targets, given)


def _split_state(name: str, layer: Recurrent[Any], state: Any) -> tuple[Any, Any]:
    if isinstance(state, FeedbackState):
        if not layer._output.feeds_back:
            raise TypeError(f"{name}: expected no FeedbackState, since nothing feeds back")
        return state
    return state, None


def _read_y(name: str, layer: Recurrent[Any], y: Any, B: int, form: Form) -> Array:
    """Return the values fed back before the first step as (D, B, O)."""
    O, D = layer._output.size, layer._output.memory  # noqa: E741
    if not layer._output.feeds_back:
        if y is not None:
            raise ValueError(f"{name}: expected None, since no output feeds back")
        return zeros((D, B, O), layer.dtype)
    if y is None:
        return zeros((D, B, O), layer.dtype)
    array = as_array(name, y, layer.dtype)
    single = form is Form.SINGLE
    if array.ndim != 3 - single and D == 1:
        check_shape(name, array, "(O,)" if single else "(B, O)", (O,) if single else (B, O))
        return array.reshape(1, B, O)
    shape = (D, O) if single else (B, D, O)
    symbols = "(M, O)" if single else "(B, M, O)"
    if D > 1:
        symbols += ", M the longest delay,"
    check_shape(name, array, symbols, shape)
    return array[:, None] if single else array.transpose(1, 0, 2)


def _read_forcing(
    layer: Recurrent[Any],
    value: Any,
    targets: Array | None,
    form: Form,
    T: int,
    B: int,
    lengths: Lengths | None,
    training: bool,
) -> Array | bool:
    """Return True (all given), False (closed loop) or where targets feed back, (T, B)."""
    if value is None:
        return targets is not None
    if isinstance(value, (list, tuple)) or np.ndim(value) > 0:
        if form is Form.RAGGED and isinstance(value, (list, tuple)):
            assert lengths is not None
            mask = side_by_side(read_masks("teacher_forcing", value, lengths), T)
        else:
            mask = as_booleans("teacher_forcing", value)
        if form is Form.SINGLE:
            check_shape("teacher_forcing", mask, "(T,)", (T,))
            mask = mask[:, None]
        elif form is Form.TIME_FIRST:
            check_shape("teacher_forcing", mask, "(T, B)", (T, B))
        else:
            check_shape("teacher_forcing", mask, "(B, T)", (B, T))
            mask = mask.T
        result: Array | bool = mask.copy()  # backward reads it: the user may change his own
    else:
        p = number("teacher_forcing", value, "a number in [0, 1] or booleans (B, T)")
        if not 0 <= p <= 1:
            raise ValueError(f"teacher_forcing: expected a number in [0, 1], got {value!r}")
        if 0 < p < 1 and not training:
            raise ValueError(
                f"teacher_forcing: expected 0, 1 or booleans without training, got {value!r}"
            )
        result = bool(p)
        if 0 < p < 1 and targets is not None and layer._output.feeds_back:
            result = layer.rng.random((T, B)) < p
    if targets is None and result is not False:
        raise ValueError("targets: expected an array with teacher_forcing, got None")
    return result


def forward(layer: Recurrent[Any], *arguments: Any) -> tuple[Any, Any, OutputTape]:
    """Run `read` and `run` for training; an error leaves the generator as it was."""
    drawn = layer.rng.bit_generator.state
    try:
        y, last, tape = run(layer, read(layer, *arguments, training=True), training=True)
    except BaseException:
        layer.rng.bit_generator.state = drawn
        raise
    assert tape is not None
    return y, last, tape


def run(layer: Recurrent[Any], call: Call, *, training: bool) -> tuple[Any, Any, OutputTape | None]:
    """Return y and the final state in the user's layout, and the tape when training."""
    T, B, _ = call.x.shape
    output = layer._output
    y = new_sequences(call.form, T, B, output.size, layer.dtype)
    merged = not output.feeds_back or (call.targets is not None and call.given is None)
    kernel: LoopTape | ForcedTape | None
    if merged:
        last, kernel = _forced.run(layer, call, y, training=training)
    else:
        last, kernel = _run_closed(layer, call, y, training=training)
    tape = None if kernel is None else OutputTape(layer, kernel, call.form, call.lengths)
    return as_user(call.form, y, call.lengths), _as_state(layer, call.form, last), tape


def _run_closed(
    layer: Recurrent[Any], call: Call, y: Array, *, training: bool
) -> tuple[LoopState, LoopTape | None]:
    h, c, fed = call.state
    last = LoopState(
        np.empty_like(h), None if c is None else np.empty_like(c), empty(fed.shape, layer.dtype)
    )
    tape = _output_kernels.forward(
        layer._loop(), call.x, call.state, call.lengths, call.targets, call.given, y, last,
        training=training,
    )  # fmt: skip
    return last, tape


def backward(
    layer: Recurrent[Any], tape: OutputTape, dy: Any, dstate: Any, *, input_gradient: bool
) -> tuple[Any, Any]:
    """Return dx and the gradient of the initial state in the user's layout."""
    kernel, single = tape.run, tape.form is Form.SINGLE
    B = kernel.y.shape[1]
    T = len(kernel.x) if isinstance(kernel, LoopTape) else len(kernel.y)
    shape = (T, B, layer._output.size)
    if dy is None:
        dy = zeros(shape, layer.dtype)
    else:
        dy = read_dy(dy, tape.form, shape, tape.lengths, layer.dtype, "dy", "O")
    hidden, kept = _split_state("dstate", layer, dstate)
    dh_n, dc_n = (None, None) if hidden is None else layer._read_state("dstate", hidden, B, single)
    dy_n = None if kept is None else _read_y("dstate.y", layer, kept, B, tape.form)
    last = LoopSlopes(dh_n, dc_n, dy_n)
    if isinstance(kernel, LoopTape):
        dx, first = _backward_closed(layer, kernel, tape.form, dy, last, input_gradient)
    else:
        dx, first = _forced.backward(layer, kernel, dy, last, input_gradient=input_gradient)
    gradient = None if dx is None else as_user(tape.form, dx, tape.lengths)
    return gradient, _as_state(layer, tape.form, first)


def _backward_closed(
    layer: Recurrent[Any],
    tape: LoopTape,
    form: Form,
    dy: Array,
    dlast: LoopSlopes,
    input_gradient: bool,
) -> tuple[Array | None, LoopState]:
    T, B, I = tape.x.shape  # noqa: E741
    dx = new_sequences(form, T, B, I, layer.dtype) if input_gradient else None
    states = (layer.num_layers, B, layer.hidden_size)
    first = LoopState(
        empty(states, layer.dtype),
        empty(states, layer.dtype) if layer._cell.has_c else None,
        empty((layer._output.memory, B, layer._output.size), layer.dtype),
    )
    _output_kernels.backward(tape, dy, dlast, layer._slopes, layer._outer()[1], dx, first)
    return dx, first


def _as_state(layer: Recurrent[Any], form: Form, state: LoopState) -> Any:
    hidden = layer._state(form, state.h, state.c)
    if not layer._output.feeds_back:
        return hidden
    y = state.y.transpose(1, 0, 2)
    return FeedbackState(hidden, y[0] if form is Form.SINGLE else y)


def step(layer: Recurrent[Any], x_t: Any, state: Any) -> tuple[Array, Any]:
    """Run one time step in closed loop."""
    x = as_array("x_t", x_t, layer.dtype)
    if x.ndim not in (1, 2) or x.shape[-1] != layer.input_size:
        raise ValueError(f"x_t: expected (B, I) or (I,) with I = {layer.input_size}, got {x.shape}")
    x = x[None] if x.ndim == 1 else x[:, None] if layer.batch_first else x[None]
    call = read(layer, x, state, None, None, None, None, training=False)
    y, state, _ = run(layer, call, training=False)
    return (y[0] if call.form is not Form.BATCH_FIRST else y[:, 0]), state


def generate(layer: Recurrent[Any], n: int, state: Any, y0: Any, x: Any) -> tuple[Array, Any]:
    """Run n closed-loop steps."""
    if x is None:
        x = _no_input(layer, n, state, y0)
    call = read(layer, x, state, None, y0, None, None, training=False)
    T, B, _ = call.x.shape
    if call.form is Form.RAGGED:
        raise ValueError(f"x: expected one array of n = {n} steps, got a list of arrays")
    if n != T:
        raise ValueError(f"x: expected n = {n} steps, got {T}")
    y = new_sequences(call.form, T, B, layer._output.size, layer.dtype)
    last = call.state
    for part in _interruptible(layer, T, B):
        piece = replace(call, x=call.x[part], state=last)
        last, _ = _run_closed(layer, piece, y[part], training=False)
    return as_user(call.form, y, None), _as_state(layer, call.form, last)


def _interruptible(layer: Recurrent[Any], T: int, B: int) -> list[slice]:
    """Cut T steps into parts of some 50 ms, so that Ctrl-C is heard between them; 16 at least."""
    work = layer.num_parameters * max(B, 1) + 10_000  # multiply-adds of a step, and its calls
    steps = max(16, int(1e9 / work))
    starts = list(range(0, max(T - 15, 1), steps))  # a short rest goes with the part before it
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], T], strict=True)]


def _shape(name: str, value: Any) -> tuple[int, ...]:
    return () if value is None else as_numpy(name, value).shape


def _no_input(layer: Recurrent[Any], n: int, state: Any, y0: Any) -> Array:
    """Return zeros for the sequences that state or y0 bring; one sequence without either."""
    hidden, kept = _split_state("state", layer, state)
    pair = layer._cell.has_c and isinstance(hidden, (tuple, list)) and len(hidden) == 2
    h = _shape("state", hidden[0] if pair else hidden)
    before, initial = _shape("state.y", kept), _shape("y0", y0)
    batch: int | None = None
    if len(h) == 3:
        batch = h[1]
    elif len(before) == 3:
        batch = before[0]
    elif hidden is None and len(initial) >= (2 if layer._output.memory == 1 else 3):
        batch = initial[0]
    zero = np.zeros((), layer.dtype)
    shape = (n, layer.input_size) if batch is None else (n, batch, layer.input_size)
    x = np.broadcast_to(zero, shape)
    return x.transpose(1, 0, 2) if batch is not None and layer.batch_first else x
