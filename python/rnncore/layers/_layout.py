"""Sequences between the user's layout and the kernels' (T, B, D)."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

from rnncore._checks import as_array, as_numpy, check_shape
from rnncore._memory import empty
from rnncore._ragged import is_empty, is_ragged, read_rows, side_by_side
from rnncore._types import Array, Lengths


class Layout(Enum):
    """How the user lays out sequences."""

    SINGLE = "(T, D)"
    BATCH_FIRST = "(B, T, D)"
    TIME_FIRST = "(T, B, D)"
    RAGGED = "a list of (T_i, D)"


def read_x(
    x: Any, features: int, dtype: np.dtype[Any], batch_first: bool
) -> tuple[Layout, Array, Lengths | None]:
    """Return the layout, x as (T, B, I) and, of a ragged list, the lengths (B,)."""
    if _is_list_of_sequences(x):
        return Layout.RAGGED, *_read_ragged(x, features, dtype)
    array = as_array("x", x, dtype)
    if array.ndim not in (2, 3):
        batch = "(B, T, I)" if batch_first else "(T, B, I)"
        raise ValueError(
            f"x: expected {batch}, (T, I) or a list of (T_i, I), got shape {array.shape}"
        )
    if array.shape[-1] != features:
        raise ValueError(
            f"x: expected input_size = {features} features, got {array.shape[-1]} in shape "
            f"{array.shape}"
        )
    if array.ndim == 2:
        return Layout.SINGLE, array[:, None], None
    if batch_first:
        return Layout.BATCH_FIRST, array.transpose(1, 0, 2), None
    return Layout.TIME_FIRST, array, None


def _is_list_of_sequences(x: Any) -> bool:
    """Whether x lists sequences (T_i, I); if not, a list is one array: (T, I), say."""
    if is_ragged(x):
        for i, item in enumerate(x):
            array = as_numpy(f"x[{i}]", item)
            if not is_empty(array):
                return array.ndim == 2
    return False


def _read_ragged(x: Any, features: int, dtype: np.dtype[Any]) -> tuple[Array, Lengths]:
    arrays = []
    for i, item in enumerate(x):
        array = as_array(f"x[{i}]", item, dtype)
        array = array.reshape(0, features) if is_empty(array) else array
        if array.ndim != 2 or array.shape[1] != features:
            raise ValueError(f"x[{i}]: expected (T_i, I) = (any, {features}), got {array.shape}")
        arrays.append(array)
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    return side_by_side(arrays, int(lengths.max())).transpose(1, 0, 2), lengths


def read_like_x(
    name: str,
    value: Any,
    layout: Layout,
    sizes: tuple[int, int, int],
    lengths: Lengths | None,
    dtype: np.dtype[Any],
    last: str,
) -> Array:
    """Return sequences laid out as x was as (T, B, D) = sizes; errors call D `last`."""
    T, B, D = sizes
    if layout is Layout.RAGGED:
        assert lengths is not None
        rows = read_rows(name, value, lengths, D, dtype, last)
        return side_by_side(rows, T).transpose(1, 0, 2)
    array = as_array(name, value, dtype)
    if layout is Layout.SINGLE:
        check_shape(name, array, f"(T, {last})", (T, D))
        return array[:, None]
    if layout is Layout.BATCH_FIRST:
        check_shape(name, array, f"(B, T, {last})", (B, T, D))
        return array.transpose(1, 0, 2)
    check_shape(name, array, f"(T, B, {last})", (T, B, D))
    return array


def new_sequences(layout: Layout, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialised (T, B, D) array, in memory as the user's layout has it."""
    if layout is Layout.TIME_FIRST:
        return empty(shape, dtype)
    T, B, D = shape
    return empty((B, T, D), dtype).transpose(1, 0, 2)


def as_user(layout: Layout, array: Array, lengths: Lengths | None) -> Any:
    """Return (T, B, D) in the user's layout, without a copy."""
    if layout is Layout.SINGLE:
        return array[:, 0]
    if layout is Layout.TIME_FIRST:
        return array
    batch = array.transpose(1, 0, 2)
    if layout is Layout.BATCH_FIRST:
        return batch
    assert lengths is not None
    return [row[:length] for row, length in zip(batch, lengths.tolist(), strict=True)]
