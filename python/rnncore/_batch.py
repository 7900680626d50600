"""Sequences and states between the user's layout and the kernels' (T, B, D)."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

from rnncore._arrays import (
    Array,
    Lengths,
    as_array,
    as_booleans,
    as_numpy,
    check_shape,
    empty,
    zeros,
)
from rnncore._kernels import LSTMState
from rnncore._output import FeedbackState


class Form(Enum):
    """How the user lays out sequences."""

    SINGLE = "(T, D)"
    BATCH_FIRST = "(B, T, D)"
    TIME_FIRST = "(T, B, D)"
    RAGGED = "a list of (T_i, D)"


def read_x(
    x: Any, features: int, dtype: np.dtype[Any], batch_first: bool
) -> tuple[Form, Array, Lengths | None]:
    """Return the layout, x as (T, B, I) and, of a ragged list, the lengths (B,)."""
    if isinstance(x, (list, tuple)) and len(x) > 0 and as_numpy("x[0]", x[0]).ndim == 2:
        return Form.RAGGED, *_read_ragged(x, features, dtype)
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
        return Form.SINGLE, array[:, None], None
    if batch_first:
        return Form.BATCH_FIRST, array.transpose(1, 0, 2), None
    return Form.TIME_FIRST, array, None


def _read_ragged(x: Any, features: int, dtype: np.dtype[Any]) -> tuple[Array, Lengths]:
    arrays = []
    for i, item in enumerate(x):
        array = as_array(f"x[{i}]", item, dtype)
        if array.ndim != 2 or array.shape[1] != features:
            raise ValueError(f"x[{i}]: expected (T_i, I) = (any, {features}), got {array.shape}")
        arrays.append(array)
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    return side_by_side(arrays, int(lengths.max())).transpose(1, 0, 2), lengths


def is_ragged(x: Any) -> bool:
    """Whether x is a list of arrays rather than one array or a nest of plain lists."""
    return isinstance(x, (list, tuple)) and len(x) > 0 and all(hasattr(a, "shape") for a in x)


def read_sequences(name: str, items: Any) -> tuple[list[Array], Lengths]:
    """Return a list's arrays, all (T_i,) or all (T_i, F) with the same F, and their T_i."""
    try:
        values = list(items)
    except TypeError:
        raise TypeError(f"{name}: expected a list of arrays, got {type(items).__name__}") from None
    arrays = [as_numpy(f"{name}[{i}]", value) for i, value in enumerate(values)]
    typed = [array.dtype for array in arrays if array.size > 0]
    if typed:  # numpy makes float64 of an empty list
        arrays = [array if array.size > 0 else array.astype(typed[0]) for array in arrays]
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


def read_rows(
    name: str, value: Any, lengths: Lengths, features: int, dtype: np.dtype[Any], last: str
) -> list[Array]:
    """Return a list's arrays (T_i, features), of these lengths; `last` as errors say."""
    symbols = f"(T_i, {last})"
    rows = [as_array(each, row, dtype) for each, row in _items(name, value, lengths, symbols)]
    for i, row in enumerate(rows):
        check_shape(f"{name}[{i}]", row, symbols, (int(lengths[i]), features))
    return rows


def read_masks(name: str, value: Any, lengths: Lengths) -> list[Array]:
    """Return a list's booleans (T_i,), of these lengths."""
    rows = [as_booleans(each, row) for each, row in _items(name, value, lengths, "(T_i,)")]
    for i, row in enumerate(rows):
        check_shape(f"{name}[{i}]", row, "(T_i,)", (int(lengths[i]),))
    return rows


def _items(name: str, value: Any, lengths: Lengths, symbols: str) -> list[tuple[str, Any]]:
    """Return what a list holds for each sequence, and its name for errors."""
    B = len(lengths)
    if not isinstance(value, (list, tuple)) or len(value) != B:
        got = f"{len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
        raise ValueError(f"{name}: expected a list of {B} arrays {symbols}, as x was, got {got}")
    return [(f"{name}[{i}]", item) for i, item in enumerate(value)]


def side_by_side(arrays: list[Array], steps: int, value: float = 0) -> Array:
    """Return arrays (T_i, ...) as one (N, steps, ...), `value` behind their ends."""
    dtype = np.result_type(*{array.dtype for array in arrays})
    result = zeros((len(arrays), steps, *arrays[0].shape[1:]), dtype)
    if value:
        result.fill(value)
    for row, array in zip(result, arrays, strict=True):
        row[: len(array)] = array
    return result


def valid_steps(steps: int, lengths: Lengths | None) -> Array | None:
    """Return (B, T), True up to each sequence's end; None where all steps are valid."""
    return None if lengths is None else np.arange(steps) < lengths[:, None]


def read_dy(
    dy: Any,
    form: Form,
    sizes: tuple[int, int, int],
    lengths: Lengths | None,
    dtype: np.dtype[Any],
    name: str = "dy",
    last: str = "D*H",
) -> Array:
    """Return dy (or targets), laid out as x was, as (T, B, D*H) = sizes; `last` as errors say."""
    T, B, D = sizes
    if form is Form.RAGGED:
        assert lengths is not None
        rows = read_rows(name, dy, lengths, D, dtype, last)
        return side_by_side(rows, T).transpose(1, 0, 2)
    array = as_array(name, dy, dtype)
    if form is Form.SINGLE:
        check_shape(name, array, f"(T, {last})", (T, D))
        return array[:, None]
    if form is Form.BATCH_FIRST:
        check_shape(name, array, f"(B, T, {last})", (B, T, D))
        return array.transpose(1, 0, 2)
    check_shape(name, array, f"(T, B, {last})", (T, B, D))
    return array


def new_sequences(form: Form, T: int, B: int, D: int, dtype: np.dtype[Any]) -> Array:
    """Return an uninitialised (T, B, D) array, in memory as the user's layout has it."""
    if form is Form.TIME_FIRST:
        return empty((T, B, D), dtype)
    return empty((B, T, D), dtype).transpose(1, 0, 2)


def as_user(form: Form, array: Array, lengths: Lengths | None) -> Any:
    """Return (T, B, D) in the user's layout, without a copy."""
    if form is Form.SINGLE:
        return array[:, 0]
    if form is Form.TIME_FIRST:
        return array
    batch = array.transpose(1, 0, 2)
    if form is Form.BATCH_FIRST:
        return batch
    assert lengths is not None
    return [row[:length] for row, length in zip(batch, lengths.tolist(), strict=True)]


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


def as_state(h: Array, c: Array | None) -> Any:
    """Return LSTMState(h, c), or h alone for a cell without c."""
    return h if c is None else LSTMState(h, c)
