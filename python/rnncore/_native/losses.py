"""Losses of arrays that are checked already: each returns the weighted mean and its gradient.

`counted` holds one flag per row, (...), of elementwise losses also one per target, (..., O); None =
all count. `weights` holds one number per row, (...), in y's dtype; None = all weigh the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnncore._memory import empty
from rnncore._native.isa import core
from rnncore._types import Array, Lengths

IGNORED = -100  # the label that never counts, as in torch
LEAST_VARIANCE = 1e-6  # as in torch


def mean_squared_error(
    y: Array, target: Array, counted: Array | None = None, weights: Array | None = None
) -> tuple[float, Array]:
    """Return the mean of (y - target)^2 and dy; y and target (..., O)."""
    return _elementwise(core.mean_squared_error, y, target, counted, weights)


def mean_absolute_error(
    y: Array, target: Array, counted: Array | None = None, weights: Array | None = None
) -> tuple[float, Array]:
    """Return the mean of abs(y - target) and dy; shapes as above."""
    return _elementwise(core.mean_absolute_error, y, target, counted, weights)


def huber(
    y: Array,
    target: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    delta: float = 1.0,
) -> tuple[float, Array]:
    """Return the mean of Huber's loss and dy; shapes as above."""
    return _elementwise(core.huber, y, target, counted, weights, delta)


def quantile(
    y: Array,
    target: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    levels: tuple[float, ...] = (0.5,),
) -> tuple[float, Array]:
    """Return the mean quantile loss and dy (..., O*Q), the Q levels of a target side by side."""
    Q, O = len(levels), target.shape[-1]  # noqa: E741
    if counted is not None and counted.ndim == target.ndim:
        counted = np.repeat(counted, Q, axis=-1)
    each = np.tile(np.array(levels, y.dtype), O)
    return _elementwise(core.quantile, y, np.repeat(target, Q, axis=-1), counted, weights, each)


def gaussian_negative_log_likelihood(
    y: Array,
    target: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    least_variance: float = LEAST_VARIANCE,
) -> tuple[float, Array]:
    """Return the mean of -log N(target; mean, variance) and dy; y (..., O*2), target (..., O)."""
    kernel = core.gaussian_negative_log_likelihood
    return _elementwise(kernel, y, target, counted, weights, least_variance)


def student_t_negative_log_likelihood(
    y: Array,
    target: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    least_variance: float = LEAST_VARIANCE,
) -> tuple[float, Array]:
    """Return the mean of -log t(target; ...) and dy; y (..., O*3), target (..., O)."""
    kernel = core.student_t_negative_log_likelihood
    return _elementwise(kernel, y, target, counted, weights, least_variance)


def binary_cross_entropy(
    logits: Array, target: Array, counted: Array | None = None, weights: Array | None = None
) -> tuple[float, Array]:
    """Return the mean of the binary cross-entropy and dlogits; shapes as above."""
    return _elementwise(core.binary_cross_entropy, logits, target, counted, weights)


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    ignored: int = IGNORED,
) -> tuple[float, Array]:
    """Return the mean of -log softmax(logits)[label] and dlogits (..., C); labels (...) int64."""
    dlogits = empty(logits.shape, logits.dtype)
    loss = core.softmax_cross_entropy(
        _rows(logits), _each(labels), _of_rows(counted), _of_rows(weights), ignored, _rows(dlogits)
    )
    return loss, dlogits


def negative_log_likelihood(
    probabilities: Array,
    labels: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    ignored: int = IGNORED,
) -> tuple[float, Array]:
    """Return the mean of -log p[label] and dp (..., C).

    In numpy: it reads one number of C. Labels that count are in [0, C).
    """
    p, classes = _rows(probabilities), _each(labels)
    counts = classes != ignored
    if counted is not None:
        counts &= _each(counted)
    if weights is not None:
        counts &= _each(weights) > 0
    rows, dp = np.flatnonzero(counts), np.zeros(probabilities.shape, p.dtype)
    if rows.size == 0:
        return 0.0, dp
    chosen = np.maximum(p[rows, classes[rows]], np.finfo(p.dtype).tiny)
    losses = -np.log(chosen.astype(np.float64))
    if weights is None:
        _rows(dp)[rows, classes[rows]] = -1 / (chosen * rows.size)
        return float(losses.mean()), dp
    share = _each(weights)[rows].astype(np.float64)
    share /= share.sum()
    _rows(dp)[rows, classes[rows]] = -share / chosen
    return float(share @ losses), dp


def ctc(
    logits: Array,
    labels: Array,
    lengths: Lengths,
    label_lengths: Lengths,
    counted: Array | None = None,
    weights: Array | None = None,
    blank: int = 0,
) -> tuple[float, Array]:
    """Return the mean of -log p(labels) over sequences, and dlogits (B, T, V).

    logits (B, T, V), labels (B, S) int64, lengths, label_lengths, counted and weights (B,). The
    loss of labels that do not fit in their steps is infinite, and their gradient zero.
    """
    dlogits = empty(logits.shape, logits.dtype)
    loss = core.ctc(
        logits.swapaxes(0, 1), np.ascontiguousarray(labels), lengths, label_lengths, blank,
        _of_rows(counted), _of_rows(weights), dlogits.swapaxes(0, 1),
    )  # fmt: skip
    return loss, dlogits


def _elementwise(
    kernel: Callable[..., float],
    y: Array,
    target: Array,
    counted: Array | None,
    weights: Array | None,
    *options: Any,
) -> tuple[float, Array]:
    dy = empty(y.shape, y.dtype)
    if counted is not None:
        counted = _rows(counted) if counted.ndim == y.ndim else _each(counted)
    loss = kernel(_rows(y), _rows(target), counted, _of_rows(weights), *options, _rows(dy))
    return loss, dy


def _rows(array: Array) -> Array:
    """Return (..., D) as (N, D), in C order."""
    if array.ndim == 2 and array.flags.c_contiguous:
        return array
    N, D = math.prod(array.shape[:-1]), array.shape[-1]
    return np.ascontiguousarray(array).reshape(N, D)


def _each(array: Array) -> Array:
    """Return one number or flag for each row: (...) as (N,), in C order."""
    return np.ascontiguousarray(array).reshape(-1)


def _of_rows(array: Array | None) -> Array | None:
    return None if array is None else _each(array)
