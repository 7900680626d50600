"""The loss of a batch: by the kernels, or in numpy where rows weigh or single numbers are missing.

The numpy part goes as soon as the kernels take weights and flags of single numbers.
"""

from __future__ import annotations

import math

import numpy as np

from rnncore._native import losses as kernels
from rnncore._types import Array
from rnncore.models.samples.targets import TargetBatch


def batch_loss(name: str, y: Array, batch: TargetBatch) -> tuple[float, Array]:
    """Return the weighted mean loss of a batch's outputs, and dy, zero where nothing counts."""
    counted, weights = batch.counted, batch.weights
    elementwise = counted is not None and counted.ndim > len(batch.rows)
    if weights is None and not elementwise:
        result: tuple[float, Array] = getattr(kernels, name)(y, batch.y, counted)
        return result
    w = np.ones(batch.rows) if weights is None else weights.astype(np.float64)
    if counted is not None:
        w = w[..., None] * counted if elementwise else w * counted
    if name in ("mean_squared_error", "binary_cross_entropy"):
        w = np.broadcast_to(w if elementwise else w[..., None], y.shape)
    total = float(w.sum())
    if not total > 0:
        return 0.0, np.zeros_like(y)
    loss, dy = _each(name, y, batch.y, w > 0)
    share = w / total
    dy *= share if share.ndim == dy.ndim else share[..., None]
    return float((share * loss).sum()), dy.astype(y.dtype)


def what_counts(y: Array, batch: TargetBatch) -> tuple[Array, Array]:
    """Return outputs (M, O) and targets (M, ...) of the M rows of a batch that count."""
    counted = batch.counted
    if counted is None:
        rows = math.prod(batch.rows)
        return y.reshape(rows, -1), batch.y.reshape(rows, *batch.y.shape[len(batch.rows) :])
    if counted.ndim > len(batch.rows):  # single numbers are missing: rows that are whole
        counted = np.asarray(counted.all(axis=-1))
    return y[counted], batch.y[counted]


def _each(name: str, y: Array, target: Array, counted: Array) -> tuple[Array, Array]:
    """Return the loss of each number or row in float64, and its gradient; 0 unless counted."""
    rows = counted if counted.ndim == y.ndim else counted[..., None]
    z = np.where(rows, y, 0).astype(np.float64)
    if name == "mean_squared_error":
        d = z - np.where(rows, target, 0)
        return d * d, 2 * d
    if name == "binary_cross_entropy":
        t = np.where(rows, target, 0).astype(np.float64)
        loss = np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))
        return loss, np.exp(-np.logaddexp(0, -z)) - t
    at = np.where(counted, target, 0)[..., None]
    if name == "negative_log_likelihood":
        p = np.maximum(np.take_along_axis(z, at, -1), np.finfo(y.dtype).tiny)
        dp = np.zeros_like(z)
        np.put_along_axis(dp, at, -1 / p, -1)
        return -np.log(p[..., 0]), dp
    z -= z.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    dz = np.exp(log_p)
    np.put_along_axis(dz, at, np.take_along_axis(dz, at, -1) - 1, -1)
    return -np.take_along_axis(log_p, at, -1)[..., 0], dz
