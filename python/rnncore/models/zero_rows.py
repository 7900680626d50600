"""Sequences of zeros beside a small batch, so that its bits are those of a large one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.models.states import map_state

# The kernels sum the products of fewer rows in another order than those of more.
_LEAST = 9


def with_zero_rows(
    tokens: Array, lengths: Lengths | None, state: Any
) -> tuple[Array, Lengths | None, Any]:
    """Return a batch with as many sequences of zeros behind as it takes."""
    B, T = tokens.shape
    total = B * T if lengths is None else int(lengths.sum())
    if total == 0 or total >= _LEAST:
        return tokens, lengths, state
    extra = math.ceil((_LEAST - total) / T)
    if lengths is not None:
        lengths = np.concatenate([lengths, np.full(extra, T)])
    if state is not None:
        state = map_state(lambda s: with_zeros(s, B + extra, axis=1), state)
    return with_zeros(tokens, B + extra), lengths, state


def with_zeros(array: Array, size: int, axis: int = 0) -> Array:
    """Return the array with zeros behind it, `size` long along an axis."""
    if array.shape[axis] == size:
        return array
    shape = list(array.shape)
    shape[axis] = size - shape[axis]
    return np.concatenate([array, np.zeros(shape, array.dtype)], axis=axis)


def first_sequences(state: Any, B: int) -> Any:
    """Return the state of the first sequences."""
    return map_state(lambda s: np.ascontiguousarray(s[:, :B]), state)
