"""Losses of arrays that are checked already: each returns the mean and its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rnncore._memory import empty
from rnncore._native.isa import core
from rnncore._types import Array

IGNORED = -100  # the label that never counts, as in torch


def mean_squared_error(
    y: Array, target: Array, counted: Array | None = None
) -> tuple[float, Array]:
    """Return the mean of (y - target)^2 and dy; y and target (..., O), counted (...)."""
    return _elementwise(core.mean_squared_error, y, target, counted)


def binary_cross_entropy(
    logits: Array, target: Array, counted: Array | None = None
) -> tuple[float, Array]:
    """Return the mean of the binary cross-entropy and dlogits; shapes as above."""
    return _elementwise(core.binary_cross_entropy, logits, target, counted)


def softmax_cross_entropy(
    logits: Array, labels: Array, counted: Array | None = None, ignored: int = IGNORED
) -> tuple[float, Array]:
    """Return the mean of -log softmax(logits)[label] and dlogits (..., C); labels (...) int64."""
    dlogits = empty(logits.shape, logits.dtype)
    loss = core.softmax_cross_entropy(
        _rows(logits), _each(labels), _flags(counted), ignored, _rows(dlogits)
    )
    return loss, dlogits


def negative_log_likelihood(
    probabilities: Array, labels: Array, counted: Array | None = None, ignored: int = IGNORED
) -> tuple[float, Array]:
    """Return the mean of -log p[label] and dp (..., C).

    In numpy: it reads one number of C. Labels that count are in [0, C).
    """
    p, classes = _rows(probabilities), _each(labels)
    counts = classes != ignored
    if counted is not None:
        counts &= _each(counted)
    rows, dp = np.flatnonzero(counts), np.zeros(probabilities.shape, p.dtype)
    if rows.size == 0:
        return 0.0, dp
    chosen = np.maximum(p[rows, classes[rows]], np.finfo(p.dtype).tiny)
    _rows(dp)[rows, classes[rows]] = -1 / (chosen * rows.size)
    return float(-np.log(chosen.astype(np.float64)).mean()), dp


def _elementwise(
    kernel: Callable[..., float], y: Array, target: Array, counted: Array | None
) -> tuple[float, Array]:
    dy = empty(y.shape, y.dtype)
    return kernel(_rows(y), _rows(target), _flags(counted), _rows(dy)), dy


def _rows(array: Array) -> Array:
    """Return (..., D) as (N, D), in C order."""
    if array.ndim == 2 and array.flags.c_contiguous:
        return array
    N, D = math.prod(array.shape[:-1]), array.shape[-1]
    return np.ascontiguousarray(array).reshape(N, D)


def _each(array: Array) -> Array:
    """Return one number or flag for each row: (...) as (N,), in C order."""
    return np.ascontiguousarray(array).reshape(-1)


def _flags(counted: Array | None) -> Array | None:
    return None if counted is None else _each(counted)
