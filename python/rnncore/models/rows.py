"""Rows of zeros beside a short batch, which keep its bits, and zeros behind sequences' ends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.state import LSTMState, as_state

# The kernels sum the products of fewer rows in another order than those of more: gemm/dot.hpp.
_LEAST = 9


def enough_rows(batch: int, steps: int, lengths: Lengths | None = None) -> int:
    """Return how many sequences of so many steps the kernels treat as they treat many."""
    total = batch * steps if lengths is None else int(lengths.sum())
    return batch + math.ceil(max(_LEAST - total, 0) / steps) if total > 0 else batch


def with_zeros(array: Array, rows: int, axis: int = 0) -> Array:
    """Return the array with zeros behind it, `rows` long along an axis."""
    if array.shape[axis] == rows:
        return array
    shape = list(array.shape)
    shape[axis] = rows - shape[axis]
    return np.concatenate([array, np.zeros(shape, array.dtype)], axis=axis)


def with_rows(
    core: Any, tokens: Array, lengths: Lengths | None, state: Any
) -> tuple[Array, Lengths | None, Any]:
    """Return a batch for recurrent layers, with rows of zeros behind where there are too few."""
    B, T = tokens.shape
    rows = enough_rows(B, T, lengths)
    if lengths is not None:
        lengths = np.concatenate([lengths, np.full(rows - B, T)])
    if state is not None:
        state = state_of_rows(core, "state", state, B, rows)
    return with_zeros(tokens, rows), lengths, state


def state_of_rows(core: Any, name: str, state: Any, batch: int, rows: int) -> Any:
    """Return a state of `batch` sequences, checked, as one of `rows`: zeros behind."""
    state = core.read_state(name, state, batch)
    h, c = state if core.cell.has_c else (state, None)
    return as_state(with_zeros(h, rows, axis=1), None if c is None else with_zeros(c, rows, axis=1))


def first_rows(state: Any, batch: int) -> Any:
    """Return the state of the first sequences: they lie along axis 1."""
    if isinstance(state, LSTMState):
        return LSTMState(state.h[:, :batch], state.c[:, :batch])
    return state[:, :batch]


def cleared(array: Array, valid: Array | None) -> Array:
    """Return (B, T, D) with zeros beyond each sequence's end; as it is where all is valid."""
    return array if valid is None else np.where(valid[:, :, None], array, array.dtype.type(0))
