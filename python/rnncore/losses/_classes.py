"""Losses of integer labels, one for each row."""

from __future__ import annotations

from typing import Any

from rnncore._checks import refuse
from rnncore._native import losses as _kernels
from rnncore._types import Array
from rnncore.losses._arguments import (
    read_ignore_index,
    read_labels,
    read_mask,
    read_scores,
    read_weights,
)


def softmax_cross_entropy(
    logits: Any, labels: Any, mask: Any = None, weights: Any = None, *, ignore_index: int = -100
) -> tuple[float, Array]:
    """Mean of -log softmax(logits)[label] over the rows that count (torch's ``cross_entropy``).

    Parameters
    ----------
    logits : array_like, (..., C)
        Scores of C >= 1 classes before the softmax, float32 or float64.
    labels : array_like of int, (...)
        The right class of each row, in [0, C), or `ignore_index`.
    mask : array_like of bool, (...), optional
        False where a row does not count: it is not read and its gradient is zero.
    weights : array_like, (...), optional
        How much each row counts, finite and >= 0: the loss is sum w l / sum w over the rows that
        count. A row of weight 0 does not count. ``class_weights[labels]`` weighs classes, as
        torch's ``weight`` does.
    ignore_index : int
        Rows with this label do not count either.

    Returns
    -------
    loss : float
        In nats, summed in float64; 0.0 where nothing counts.
    dlogits : numpy.ndarray, (..., C)
        Gradient with respect to logits, in their dtype.

    Raises
    ------
    TypeError
        If logits or weights holds no real numbers, labels no integers, or mask no booleans.
    ValueError
        If a shape does not fit, a weight is negative, NaN or infinite, or a label of a row that
        counts is out of range; the message gives its position in the flattened labels.
    """
    z = read_scores("logits", logits)
    classes = read_labels("logits", z, labels)
    counted, weighted = _counted("logits", z, mask, weights)
    ignored = read_ignore_index(ignore_index)
    return _kernels.softmax_cross_entropy(z, classes, counted, weighted, ignored)


def negative_log_likelihood(
    probabilities: Any,
    labels: Any,
    mask: Any = None,
    weights: Any = None,
    *,
    ignore_index: int = -100,
) -> tuple[float, Array]:
    """Mean of -log p[label] over the rows that count: the cross-entropy after a softmax.

    For outputs that are probabilities already (output_activation="softmax"); of logits
    `softmax_cross_entropy` is exact where a probability underflows. Here p counts as the smallest
    normal number at least.

    Parameters
    ----------
    probabilities : array_like, (..., C)
        Of C >= 1 classes, float32 or float64.
    labels, mask, weights, ignore_index
        As for `softmax_cross_entropy`.

    Returns
    -------
    loss : float
        In nats, summed in float64; 0.0 where nothing counts.
    dprobabilities : numpy.ndarray, (..., C)
        Gradient with respect to the probabilities, in their dtype.

    Raises
    ------
    TypeError, ValueError
        As for `softmax_cross_entropy`.
    """
    name = "probabilities"
    p = read_scores(name, probabilities)
    classes = read_labels(name, p, labels)
    counted, weighted = _counted(name, p, mask, weights)
    ignored, C = read_ignore_index(ignore_index), p.shape[-1]
    wrong = ((classes < 0) | (classes >= C)) & (classes != ignored)
    if counted is not None:
        wrong &= counted
    flat = wrong.reshape(-1)
    expected = f"integers in [0, {C}) or {ignore_index} (ignored)"
    refuse("labels", classes.reshape(-1), flat, expected)
    return _kernels.negative_log_likelihood(p, classes, counted, weighted, ignored)


def _counted(
    name: str, scores: Array, mask: Any, weights: Any
) -> tuple[Array | None, Array | None]:
    """Return the mask, False for weight 0 too, and the weights."""
    flags, weighted = read_mask(name, scores, mask), read_weights(name, scores, weights)
    if weighted is not None and not weighted.all():
        flags = (weighted > 0) & (True if flags is None else flags)
    return flags, weighted
