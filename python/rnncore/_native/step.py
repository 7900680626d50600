"""One time step of a stack for streaming, in one call of the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rnncore._native.cells import Cell
from rnncore._native.isa import core
from rnncore._native.layer import Weights
from rnncore.state import LSTMState

Stepper = Callable[[Any, Any], Any]


def make_stepper(
    cell: Cell, layers: Sequence[Weights], zoneout: tuple[float, ...] | None = None
) -> Stepper:
    """Return a function of (x_t, state) that steps a stack of layers, or gives NotImplemented.

    It reads the weights' arrays as they are at each call and keeps nothing that was made of them,
    so that a change of their values, in place or not, counts from the next step on.
    It takes exact ndarrays of the layers' dtype, C-contiguous, of few sequences, whose shapes fit;
    anything else is NotImplemented, for the caller to convert or to say what is wrong. `zoneout`:
    the rate of each state, of which a step takes the expectation.
    """
    state_type = LSTMState if cell.has_c else None
    stepper: Stepper = core.make_stepper(cell.key, list(layers), state_type, zoneout)
    return stepper
