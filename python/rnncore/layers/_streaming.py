"""One time step for streaming: one call of the kernels for plain arrays, checks for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rnncore._checks import as_array
from rnncore._native.cells import Cell
from rnncore._native.isa import core
from rnncore._native.layer import Weights
from rnncore._types import Array
from rnncore.layers import _stack
from rnncore.layers._layout import Form
from rnncore.state import LSTMState, as_state

if TYPE_CHECKING:
    from rnncore.layers._recurrent import Recurrent

Stepper = Callable[[Any, Any], Any]


def make_stepper(cell: Cell, layers: Sequence[Weights]) -> Stepper:
    """Return a function of (x_t, state) that steps a stack of layers, or gives NotImplemented.

    It reads the weights' arrays as they are at each call and keeps nothing that was made of them,
    so that a change of their values, in place or not, counts from the next step on.
    It takes exact ndarrays of the layers' dtype, C-contiguous, of few sequences, whose shapes fit;
    anything else is NotImplemented, and `checked_step` converts it or says what is wrong.
    """
    if not layers:
        return lambda x_t, state: NotImplemented
    stepper: Stepper = core.make_stepper(
        cell.name, [tuple(weights) for weights in layers], LSTMState if cell.has_c else None
    )
    return stepper


def checked_step(layer: Recurrent[Any], x_t: Any, state: Any) -> tuple[Array, Any]:
    """Run one step of anything that `Recurrent.step` takes; errors name the argument."""
    if layer.bidirectional:
        raise ValueError("step: expected one direction, got a bidirectional layer")
    x = as_array("x_t", x_t, layer.dtype, contiguous=True)
    if x.ndim not in (1, 2) or x.shape[-1] != layer.input_size:
        raise ValueError(f"x_t: expected (B, I) or (I,) with I = {layer.input_size}, got {x.shape}")
    single = x.ndim == 1
    x = x[None] if single else x
    h_0, c_0 = layer._read_state("state", state, len(x), single)
    result = layer._stepper(x, as_state(h_0, c_0))
    if result is NotImplemented:
        y, h_n, c_n, _ = _stack.forward(
            layer, Form.TIME_FIRST, x[None], None, h_0, c_0, training=False
        )
        result = y[0], as_state(h_n, c_n)
    y, carried = result
    if not single:
        return y, carried
    h_n, c_n = carried if layer._cell.has_c else (carried, None)
    return y[0], as_state(h_n[:, 0], None if c_n is None else c_n[:, 0])
