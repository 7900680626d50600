"""Lists of sequences of different lengths, and the padded arrays that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncore._checks import as_array, as_booleans, as_numpy, check_shape
from rnncore._memory import zeros
from rnncore._types import Array, Lengths


def is_list(x: Any) -> bool:
    """Whether x is a list, a tuple or a one-dimensional array of objects, of one item at least."""
    if type(x) is np.ndarray and x.dtype != object:  # the usual case, at once
        return False
    if isinstance(x, (list, tuple)):
        return len(x) > 0
    objects = getattr(getattr(x, "dtype", None), "kind", "") == "O"
    return objects and np.ndim(x) == 1 and len(x) > 0


def is_ragged(x: Any) -> bool:
    """Whether x is a list of sequences: of arrays, or of lists of numbers or of steps.

    What kind of thing x is decides, never the lengths: sequences that happen to have the same
    length are a list of sequences too.
    """
    if not is_list(x):
        return False
    first = next(iter(x))
    of_python = isinstance(first, Sequence) and not isinstance(first, (str, bytes))
    return of_python or len(getattr(first, "shape", ())) > 0


def read_sequences(name: str, items: Any) -> tuple[list[Array], Lengths]:
    """Return a list's arrays, all (T_i,) or all (T_i, F) with the same F, and their T_i."""
    try:
        values = list(items)
    except TypeError:
        raise TypeError(f"{name}: expected a list of arrays, got {type(items).__name__}") from None
    arrays = _shaped_alike([as_numpy(f"{name}[{i}]", value) for i, value in enumerate(values)])
    if not arrays:
        raise ValueError(f"{name}: expected at least one, got none")
    first = arrays[0].shape[1:]
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}[{i}]: expected real numbers, got dtype {array.dtype}")
        if array.ndim not in (1, 2) or array.shape[1:] != first:
            expected = f"(T_i, {first[0]})" if len(first) == 1 else "(T_i,) or (T_i, F)"
            raise ValueError(f"{name}[{i}]: expected {expected}, got {array.shape}")
    return arrays, np.array([len(array) for array in arrays], dtype=np.int64)


def _shaped_alike(arrays: list[Array]) -> list[Array]:
    """Return the arrays, the empty ones with the dtype and features of those that hold some."""
    full = [array for array in arrays if array.size > 0]
    if not full:
        return arrays
    features = full[0].shape[1:]
    arrays = [array.reshape(0, *features) if is_empty(array) else array for array in arrays]
    return [array if array.size > 0 else array.astype(full[0].dtype) for array in arrays]


def is_empty(array: Array) -> bool:
    """Whether this is what numpy makes of an empty list: a sequence of no steps."""
    return array.shape == (0,)


def read_rows(
    name: str, value: Any, lengths: Lengths, features: int, dtype: np.dtype[Any], last: str
) -> list[Array]:
    """Return a list's arrays (T_i, features), of these lengths; `last` as errors say."""
    symbols = f"(T_i, {last})"
    rows = [as_array(each, row, dtype) for each, row in _items(name, value, lengths, symbols)]
    rows = [row.reshape(0, features) if is_empty(row) else row for row in rows]
    for i, row in enumerate(rows):
        check_shape(f"{name}[{i}]", row, symbols, (int(lengths[i]), features))
    return rows


def read_masks(name: str, value: Any, lengths: Lengths) -> list[Array]:
    """Return a list's booleans (T_i,), of these lengths."""
    rows = [
        np.zeros(0, bool) if isinstance(row, (list, tuple)) and not row else as_booleans(each, row)
        for each, row in _items(name, value, lengths, "(T_i,)")
    ]
    for i, row in enumerate(rows):
        check_shape(f"{name}[{i}]", row, "(T_i,)", (int(lengths[i]),))
    return rows


def _items(name: str, value: Any, lengths: Lengths, symbols: str) -> list[tuple[str, Any]]:
    """Return what a list holds for each sequence, and its name for errors."""
    B = len(lengths)
    listed = isinstance(value, (list, tuple)) or is_list(value)
    if not listed or len(value) != B:
        got = f"{len(value)}" if listed else type(value).__name__
        raise ValueError(f"{name}: expected a list of {B} arrays {symbols}, as x was, got {got}")
    return [(f"{name}[{i}]", item) for i, item in enumerate(value)]


def side_by_side(
    arrays: list[Array], steps: int, value: float = 0, dtype: np.dtype[Any] | None = None
) -> Array:
    """Return arrays (T_i, ...) as one (N, steps, ...), `value` behind their ends."""
    if dtype is None:
        dtype = np.result_type(*{array.dtype for array in arrays})
    shape = (len(arrays), steps, *arrays[0].shape[1:])
    if all(len(array) == steps for array in arrays):  # twice as fast as row by row
        return np.concatenate(arrays, dtype=dtype, casting="unsafe").reshape(shape)
    result = zeros(shape, dtype)
    if value:
        result.fill(value)
    for i, array in enumerate(arrays):
        result[i, : len(array)] = array
    return result


def valid_steps(steps: int, lengths: Lengths | None) -> Array | None:
    """Return (B, T), True up to each sequence's end; None where all steps are valid."""
    return None if lengths is None else np.arange(steps) < lengths[:, None]
