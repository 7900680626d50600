"""Labels: names of classes as users give them, their codes, and how much each class counts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore._checks import as_numpy, number, users_level
from rnncore._types import Array
from rnncore.estimators._estimator import of_sklearn


def read_labels(y: Any, N: int | None, name: str = "y") -> Array:
    """Return names of classes (N,); N = None: any number.

    Raises
    ------
    ValueError, TypeError
        If there are not N, or these are no names: numbers with a fraction, missing ones.
    """
    labels = one_for_each(name, as_numpy(name, y), N)
    if labels.dtype.kind == "f":
        _refuse_missing(name, ~np.isfinite(labels), labels)
        if (labels % 1 != 0).any():
            got = labels[labels % 1 != 0][0]
            raise ValueError(
                f"{name}: expected names of classes, got {got}: Unknown label type: continuous; "
                "RNNRegressor predicts numbers"
            )
    elif labels.dtype == object:
        _refuse_missing(name, np.array([_is_missing(label) for label in labels], bool), labels)
    elif labels.dtype.kind not in "iubUSmM":
        raise TypeError(f"{name}: expected names of classes, got dtype {labels.dtype}")
    return labels


def one_for_each(name: str, values: Array, N: int | None) -> Array:
    """Return values (N,), of one column too, with scikit-learn's warning; ValueError for others."""
    if values.ndim == 2 and values.shape[1] == 1:
        kind = of_sklearn("exceptions", "DataConversionWarning", UserWarning)
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_samples,), for example using ravel().",
            kind,
            stacklevel=users_level(),
        )
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"{name}: expected shape (n,), got {values.shape}: y should be a 1d array, got an "
            f"array of shape {values.shape} instead."
        )
    check_count(name, values, N)
    return values


def check_count(name: str, values: Array, N: int | None) -> None:
    """Raise ValueError unless there are N values."""
    if N is not None and len(values) != N:
        raise ValueError(f"{name}: expected one for each of the {N} sequences, got {len(values)}")


def _is_missing(label: Any) -> bool:
    return label is None or label != label


def _refuse_missing(name: str, missing: Array, labels: Array) -> None:
    if missing.any():
        at = int(missing.argmax())
        raise ValueError(
            f"{name}: expected a class for each sequence, got {labels[at]} at index {at}: "
            f"Input {name} contains NaN."
        )


def classes_of(labels: Array, name: str = "y") -> Array:
    """Return the different names, sorted; TypeError for text among numbers."""
    try:
        return np.unique(labels)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in labels})
        raise TypeError(f"{name}: expected names of one kind, got {' and '.join(kinds)}") from error


def encode(labels: Array, classes: Array, name: str = "y") -> Array:
    """Return codes (N,) of labels; ValueError for one that is none of the sorted classes."""
    try:
        codes = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        wrong = np.asarray(classes[codes] != labels)
    except TypeError:
        wrong = np.ones(len(labels), bool)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{name}: expected classes of {_few(classes)}, got {labels[at]!r} at index {at}"
        )
    return np.asarray(codes)


def _few(classes: Array, most: int = 10) -> str:
    shown = ", ".join(map(repr, classes[:most].tolist()))
    return f"[{shown}{', ...' * (len(classes) > most)}]"


def class_weights(value: Any, classes: Array, codes: Array) -> dict[int, float] | None:
    """Return how much each code counts.

    Parameters
    ----------
    value : dict of name to number, "balanced" or None
    classes : numpy.ndarray, shape (C,)
    codes : numpy.ndarray of int, shape (N,)
        Of the training part, whose counts "balanced" goes by.

    Raises
    ------
    ValueError, TypeError
        If it is none of these, or names no class.
    """
    if value is None:
        return None
    if isinstance(value, str) and value == "balanced":
        counts = np.bincount(codes, minlength=len(classes))
        there = np.flatnonzero(counts)
        return {int(code): len(codes) / (len(there) * counts[code]) for code in there}
    if not isinstance(value, Mapping):
        raise ValueError(f"class_weight: expected a dict, 'balanced' or None, got {value!r}")
    places = {label: code for code, label in enumerate(classes.tolist())}
    weights = {}
    for label, weight in value.items():
        if label not in places:
            raise ValueError(f"class_weight: expected classes of {_few(classes)}, got {label!r}")
        weights[places[label]] = number(f"class_weight[{label!r}]", weight)
    return weights


def held_of_each(codes: Array, held: int, rng: np.random.Generator) -> Array:
    """Return flags (N,) of `held` sequences or a few more or less, drawn from each class.

    Of a class with several there is one at least on either side; a class of one stays in training.
    ValueError if no class has two.
    """
    chosen = np.zeros(len(codes), bool)
    for code in np.unique(codes):
        members = rng.permutation(np.flatnonzero(codes == code))
        if len(members) > 1:
            share = round(len(members) * held / len(codes))
            chosen[members[: min(max(share, 1), len(members) - 1)]] = True
    if not chosen.any():
        raise ValueError(
            "early_stopping: expected a class of two sequences at least, got "
            f"{len(codes)} classes of one"
        )
    return chosen
