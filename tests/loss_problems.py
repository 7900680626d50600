"""Random problems of every loss that takes rows, and their plain float64 formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rnncore import losses

LEVELS = (0.1, 0.5, 0.8)
LEAST = 1e-6


class Case(NamedTuple):
    """A loss, and each element's loss by its formula."""

    loss: losses.Loss
    terms: Callable[[Any, Any], Any]  # of y (..., O * P) and target: (..., O), or (...) of labels


def _squares(y: Any, t: Any) -> Any:
    return (y - t) ** 2


def _huber(y: Any, t: Any) -> Any:
    e = abs(y - t)
    return np.where(e <= 0.7, e**2 / 2, 0.7 * (e - 0.35))


def _quantile(y: Any, t: Any) -> Any:
    e = t[..., None] - y.reshape(*t.shape, 3)
    return np.maximum(np.array(LEVELS) * e, (np.array(LEVELS) - 1) * e).mean(axis=-1)


def _binary(z: Any, t: Any) -> Any:
    p = 1 / (1 + np.exp(-z))
    return -(t * np.log(p) + (1 - t) * np.log1p(-p))


def _softmax(z: Any, labels: Any) -> Any:
    return np.log(np.exp(z).sum(-1)) - np.take_along_axis(z, labels[..., None], -1)[..., 0]


def _likelihood(p: Any, labels: Any) -> Any:
    return -np.log(np.take_along_axis(p, labels[..., None], -1)[..., 0])


def _gaussian(y: Any, t: Any) -> Any:
    m, s = np.moveaxis(y.reshape(*t.shape, 2), -1, 0)
    v = np.exp(s) + LEAST
    return 0.5 * np.log(2 * math.pi * v) + (t - m) ** 2 / (2 * v)


def _student_t(y: Any, t: Any) -> Any:
    lgamma = np.vectorize(math.lgamma, otypes=[float])
    m, s, r = np.moveaxis(y.reshape(*t.shape, 3), -1, 0)
    v, n = np.exp(s) + LEAST, 2 + np.log1p(np.exp(r))
    density = lgamma((n + 1) / 2) - lgamma(n / 2) - 0.5 * np.log(n * math.pi * v)
    return -density + (n + 1) / 2 * np.log1p((t - m) ** 2 / (n * v))


CASES = {
    case.loss.name: case
    for case in (
        Case(losses.MeanSquaredError(), _squares),
        Case(losses.MeanAbsoluteError(), lambda y, t: abs(y - t)),
        Case(losses.Huber(delta=0.7), _huber),
        Case(losses.Quantile(LEVELS), _quantile),
        Case(losses.GaussianNegativeLogLikelihood(LEAST), _gaussian),
        Case(losses.StudentTNegativeLogLikelihood(LEAST), _student_t),
        Case(losses.BinaryCrossEntropy(), _binary),
        Case(losses.SoftmaxCrossEntropy(), _softmax),
        Case(losses.NegativeLogLikelihood(), _likelihood),
    )
}
LABELLED = [name for name, case in CASES.items() if case.loss.kind == "labels"]
ELEMENTWISE = [name for name in CASES if name not in LABELLED]


def make(name: str, shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> Any:
    """Return y and the target of `shape`; for labels the last size is that of the classes."""
    loss, rng = CASES[name].loss, np.random.default_rng(seed)
    *rows, last = shape
    y = rng.normal(0, 1.5, (*rows, last * loss.outputs_per_target)).astype(dtype)
    if name == "negative_log_likelihood":
        y = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    if loss.kind == "labels":
        return y, rng.integers(0, last, rows)
    if loss.kind == "probabilities":
        return y, rng.random(shape).astype(dtype)
    return y, rng.normal(0, 1.5, shape).astype(dtype)


def expected(name: str, y: Any, target: Any, mask: Any = None, weights: Any = None) -> float:
    """sum w l / sum w over what counts, in float64."""
    terms = CASES[name].terms(np.float64(y), target)
    mask = np.True_ if mask is None else mask
    weights = np.float64(1) if weights is None else weights
    if terms.ndim > np.ndim(weights) > 0:
        weights = weights[..., None]
    if terms.ndim > np.ndim(mask) > 0:
        mask = mask[..., None]
    w = np.broadcast_to(weights * mask, terms.shape)
    return float((w * terms)[w > 0].sum() / w.sum())
