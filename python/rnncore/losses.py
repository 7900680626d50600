"""Losses: each returns the mean over what counts and its gradient."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from rnncore._checks import as_array, as_booleans, as_integers, as_numpy, check_shape, refuse
from rnncore._native import losses as _kernels
from rnncore._types import Array

__all__ = [
    "binary_cross_entropy",
    "mean_squared_error",
    "negative_log_likelihood",
    "softmax_cross_entropy",
]

_INT64 = np.iinfo(np.int64)


def __dir__() -> list[str]:
    return __all__


def mean_squared_error(y: Any, target: Any, mask: Any = None) -> tuple[float, Array]:
    """Mean of (y - target)^2 over the elements that count (torch's ``mse_loss``).

    Parameters
    ----------
    y : array_like, (..., O)
        Predictions, float32 or float64.
    target : array_like, (..., O)
        Wanted values; converted to y's dtype.
    mask : array_like of bool, (...), optional
        False where the O elements do not count: they are not read and their gradient is zero.

    Returns
    -------
    loss : float
        Summed in float64; 0.0 where nothing counts.
    dy : numpy.ndarray, (..., O)
        Gradient with respect to y, in y's dtype.

    Raises
    ------
    TypeError
        If y or target holds no real numbers, or mask no booleans.
    ValueError
        If a shape does not fit.
    """
    y = _values("y", y)
    return _kernels.mean_squared_error(y, _target("y", y, target), _mask("y", y, mask))


def softmax_cross_entropy(
    logits: Any, labels: Any, mask: Any = None, *, ignore_index: int = -100
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
        If logits holds no real numbers, labels no integers, or mask no booleans.
    ValueError
        If a shape does not fit, or a label of a row that counts is out of range; the message
        gives its position in the flattened labels.
    """
    logits = _values("logits", logits)
    if logits.shape[-1] == 0:
        raise ValueError(f"logits: expected (..., C) with C >= 1, got {logits.shape}")
    classes, flags = _labels(logits, labels), _mask("logits", logits, mask)
    return _kernels.softmax_cross_entropy(logits, classes, flags, _ignore_index(ignore_index))


def negative_log_likelihood(
    probabilities: Any, labels: Any, mask: Any = None, *, ignore_index: int = -100
) -> tuple[float, Array]:
    """Mean of -log p[label] over the rows that count: the cross-entropy after a softmax.

    For outputs that are probabilities already (output_activation="softmax"); of logits
    `softmax_cross_entropy` is exact where a probability underflows. Here p counts as the smallest
    normal number at least.

    Parameters
    ----------
    probabilities : array_like, (..., C)
        Of C >= 1 classes, float32 or float64.
    labels, mask, ignore_index
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
    p = _values("probabilities", probabilities)
    if p.shape[-1] == 0:
        raise ValueError(f"probabilities: expected (..., C) with C >= 1, got {p.shape}")
    classes, flags = _labels(p, labels, "probabilities"), _mask("probabilities", p, mask)
    ignored, C = _ignore_index(ignore_index), p.shape[-1]
    wrong = ((classes < 0) | (classes >= C)) & (classes != ignored)
    if flags is not None:
        wrong &= flags
    refuse("labels", classes, wrong, f"integers in [0, {C}) or {ignore_index} (ignored)")
    return _kernels.negative_log_likelihood(p, classes, flags, ignored)


def binary_cross_entropy(logits: Any, target: Any, mask: Any = None) -> tuple[float, Array]:
    """Mean of -(t log p + (1 - t) log(1 - p)), p = logistic(logits), over what counts.

    Computed as max(z, 0) - z t + log(1 + exp(-abs(z))), which does not overflow (torch's
    ``binary_cross_entropy_with_logits``).

    Parameters
    ----------
    logits : array_like, (..., O)
        Scores z before the logistic function, float32 or float64.
    target : array_like, (..., O)
        Probabilities t, mostly 0 or 1; converted to the logits' dtype. Numbers outside [0, 1] are
        not refused here, as in torch; `fit` refuses them.
    mask : array_like of bool, (...), optional
        False where the O elements do not count: they are not read and their gradient is zero.

    Returns
    -------
    loss : float
        In nats, summed in float64; 0.0 where nothing counts.
    dlogits : numpy.ndarray, (..., O)
        Gradient with respect to logits, in their dtype.

    Raises
    ------
    TypeError
        If logits or target holds no real numbers, or mask no booleans.
    ValueError
        If a shape does not fit.
    """
    z = _values("logits", logits)
    return _kernels.binary_cross_entropy(z, _target("logits", z, target), _mask("logits", z, mask))


def _values(name: str, value: Any) -> Array:
    """Return a C-contiguous float array: float32 from narrow floats, else float64."""
    array = as_numpy(name, value)
    narrow = array.dtype.kind == "f" and array.itemsize <= 4
    array = as_array(name, value, np.dtype(np.float32 if narrow else np.float64), contiguous=True)
    if array.ndim == 0:
        raise ValueError(f"{name}: expected at least one dimension, got ()")
    return array


def _target(name: str, y: Array, target: Any) -> Array:
    array = as_array("target", target, y.dtype, contiguous=True)
    check_shape("target", array, f"the shape of {name}", y.shape)
    return array


def _mask(name: str, y: Array, mask: Any) -> Array | None:
    """Return one flag per row, 1-D."""
    if mask is None:
        return None
    array = as_booleans("mask", mask)
    check_shape("mask", array, f"the leading shape of {name}", y.shape[:-1])
    return np.ascontiguousarray(array).reshape(-1)


def _labels(logits: Array, labels: Any, name: str = "logits") -> Array:
    """Return one int64 per row, 1-D."""
    array = as_integers("labels", labels)
    check_shape("labels", array, f"the leading shape of {name}", logits.shape[:-1])
    if array.dtype.kind == "u" and array.size > 0 and array.max() > _INT64.max:
        raise ValueError(f"labels: expected integers in [0, {logits.shape[-1]}), got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int64).reshape(-1)


def _ignore_index(value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"ignore_index: expected an integer, got {value!r}") from None
    if not _INT64.min <= number <= _INT64.max:
        raise ValueError(f"ignore_index: expected a 64-bit integer, got {number}")
    return number
