"""What the losses take, checked."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from rnncore._checks import (
    as_array,
    as_booleans,
    as_int64,
    as_integers,
    as_numpy,
    check_shape,
    refuse,
)
from rnncore._types import Array

_INT64 = np.iinfo(np.int64)


def read_outputs(name: str, value: Any) -> Array:
    """Return a C-contiguous float array: float32 from narrow floats, else float64."""
    array = as_numpy(name, value)
    narrow = array.dtype.kind == "f" and array.itemsize <= 4
    array = as_array(name, value, np.dtype(np.float32 if narrow else np.float64), contiguous=True)
    if array.ndim == 0:
        raise ValueError(f"{name}: expected at least one dimension, got ()")
    return array


def read_scores(name: str, value: Any) -> Array:
    """Return a float array (..., C) of at least one class."""
    array = read_outputs(name, value)
    if array.shape[-1] == 0:
        raise ValueError(f"{name}: expected (..., C) with C >= 1, got {array.shape}")
    return array


def read_target(name: str, y: Array, target: Any, outputs: int = 1) -> Array:
    """Return the target in y's dtype: (..., O) for y (..., O * outputs)."""
    array = as_array("target", target, y.dtype, contiguous=True)
    if outputs == 1:
        check_shape("target", array, f"the shape of {name}", y.shape)
    elif y.shape[-1] % outputs:
        raise ValueError(f"{name}: expected (..., O * {outputs}), got {y.shape}")
    else:
        shape = (*y.shape[:-1], y.shape[-1] // outputs)
        check_shape("target", array, f"(..., O) for {name} (..., O * {outputs})", shape)
    return array


def read_mask(name: str, y: Array, mask: Any, target: Array | None = None) -> Array | None:
    """Return flags of y's rows, (...); given a target, of its elements too, (..., O)."""
    if mask is None:
        return None
    array = as_booleans("mask", mask)
    if target is not None and array.ndim == target.ndim:
        check_shape("mask", array, "the shape of target", target.shape)
    else:
        check_shape("mask", array, f"the leading shape of {name}", y.shape[:-1])
    return np.asarray(array, order="C")


def read_weights(name: str, y: Array, weights: Any) -> Array | None:
    """Return finite weights >= 0 of y's rows, (...), in its dtype."""
    if weights is None:
        return None
    array = as_numpy("weights", weights)
    if array.dtype.kind in "fiub":  # silently: a weight needs no more digits than y has
        with np.errstate(over="ignore"):
            array = array.astype(y.dtype, copy=False)
    array = as_array("weights", array, y.dtype, contiguous=True)
    check_shape("weights", array, f"the leading shape of {name}", y.shape[:-1])
    refuse("weights", array, ~(np.isfinite(array) & (array >= 0)), "finite numbers >= 0")
    return array


def read_labels(name: str, scores: Array, labels: Any) -> Array:
    """Return one int64 per row, (...)."""
    array = as_integers("labels", labels)
    check_shape("labels", array, f"the leading shape of {name}", scores.shape[:-1])
    return narrow_labels(array, scores.shape[-1])


def narrow_labels(labels: Array, classes: int) -> Array:
    """Return labels as int64; ValueError for those beyond."""
    if labels.dtype.kind == "u" and labels.size > 0 and labels.max() > _INT64.max:
        raise ValueError(f"labels: expected integers in [0, {classes}), got {labels.max()}")
    return as_int64(labels)


def read_ignore_index(value: Any) -> int:
    """Return a label as an int."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"ignore_index: expected an integer, got {value!r}") from None
    if not _INT64.min <= number <= _INT64.max:
        raise ValueError(f"ignore_index: expected a 64-bit integer, got {number}")
    return number
