"""States of recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import as_array, check_shape
from rnncore._memory import zeros
from rnncore._types import Array

__all__ = ["FeedbackState", "LSTMState"]


class LSTMState(NamedTuple):
    """State of an LSTM.

    Attributes
    ----------
    h : numpy.ndarray
        Output state: (num_layers*D, B, H) for a layer, (B, H) for one layer in one direction.
    c : numpy.ndarray
        Cell state, of the same shape.
    """

    h: Array
    c: Array


class FeedbackState(NamedTuple):
    """State of a layer with output recurrence.

    Attributes
    ----------
    hidden : numpy.ndarray or LSTMState
        State of the recurrent layers, (num_layers, B, H); (num_layers, H) for one sequence.
    y : numpy.ndarray, (B, M, O)
        The last M values that were fed back, oldest first, M = the longest delay; (M, O) for one
        sequence.
    """

    hidden: Array | LSTMState
    y: Array


class StackState(NamedTuple):
    """State of a stack in the kernels' layout, or its gradient, whose parts may be None = zeros.

    h (K, B, H or P) and c (K, B, H) of each layer and direction, or (B, H) of one; y (M, B, O):
    the last values fed back, oldest first, where there is a readout.
    """

    h: Any  # arrays, or None
    c: Any
    y: Any


def read_state(
    name: str,
    state: Any,
    has_c: bool,
    symbols: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    projected: int = 0,
) -> tuple[Array, Array | None]:
    """Return h and c, C-contiguous; None gives zeros. `projected`: h's last dimension, or 0: H."""
    h_shape = (*shape[:-1], projected or shape[-1])
    if isinstance(state, FeedbackState):  # which would pass for LSTMState(h, c)
        raise TypeError(f"{name}: expected no FeedbackState, since nothing feeds back")
    if state is None:
        return zeros(h_shape, dtype), zeros(shape, dtype) if has_c else None
    if not has_c:
        if isinstance(state, LSTMState):  # which would pass for an array (2, ...)
            raise TypeError(f"{name}: expected an array h, got LSTMState")
        h = as_array(name, state, dtype, contiguous=True)
        check_shape(name, h, symbols, shape)
        return h, None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"{name}: expected LSTMState(h, c), got {type(state).__name__}")
    h = as_array(f"{name}.h", state[0], dtype, contiguous=True)
    check_shape(f"{name}.h", h, symbols.replace("H)", "P)") if projected else symbols, h_shape)
    c = as_array(f"{name}.c", state[1], dtype, contiguous=True)
    check_shape(f"{name}.c", c, symbols, shape)
    return h, c


def flatten(state: Any) -> dict[str, Array]:
    """Return a state's arrays by name, h, c and y where it has them; of None nothing."""
    if state is None:
        return {}
    if isinstance(state, FeedbackState):
        return flatten(state.hidden) | {"y": state.y}
    return {"h": state.h, "c": state.c} if isinstance(state, LSTMState) else {"h": state}


def unflatten(arrays: Mapping[str, Array]) -> Any:
    """Return the state of which `flatten` gave these arrays."""
    if not arrays:
        return None
    hidden = as_state(arrays["h"], arrays.get("c"))
    return FeedbackState(hidden, arrays["y"]) if "y" in arrays else hidden


def join_rows(states: Sequence[Any]) -> Any:
    """Return the state of all sequences from those of some each, in their order; None of Nones."""
    if states[0] is None:
        return None
    parts = [flatten(state) for state in states]
    axes = {name: _row_axis(name) for name in parts[0]}
    return unflatten(
        {name: np.concatenate([part[name] for part in parts], axis) for name, axis in axes.items()}
    )


def some_rows(state: Any, choose: Callable[[int], slice]) -> Any:
    """Return the state of some sequences, a copy; `choose` says which of how many."""
    found = {}
    for name, array in flatten(state).items():
        axis = _row_axis(name)
        found[name] = array.take(np.r_[choose(array.shape[axis])], axis)
    return unflatten(found)


def _row_axis(name: str) -> int:
    """Which axis of an array of a state is that of the sequences."""
    return 0 if name == "y" else 1


def as_state(h: Array, c: Array | None) -> Any:
    """Return LSTMState(h, c), or h alone for a cell without c."""
    return h if c is None else LSTMState(h, c)
