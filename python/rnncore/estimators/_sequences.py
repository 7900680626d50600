"""Sequences: what a user gives as X, as one array of all steps and the sequences' lengths."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rnncore._checks import as_numpy, users_level
from rnncore._ragged import is_list, read_sequences
from rnncore._types import Array, Lengths

ModelInput: TypeAlias = "Array | list[Array]"


@dataclass(eq=False, slots=True)
class Sequences:
    """N sequences.

    Attributes
    ----------
    steps : numpy.ndarray of real numbers, shape (S, F)
        The steps of all sequences, one after the other.
    lengths : numpy.ndarray of int64, shape (N,)
        Steps of each; their sum is S.
    rectangular : bool
        Whether X was one array, so that all have the same length.
    columns : int or None
        T of X (N, T), each row of which is a sequence of one feature; None for any other X.
    names : numpy.ndarray of object, shape (F,) or (T,), or None
        Names of the columns, where X has them.
    groups : numpy.ndarray of int64, shape (R,), or None
        For a frame of groups: to which sequence each of its rows belongs.
    """

    steps: Array
    lengths: Lengths
    rectangular: bool
    columns: int | None = None
    names: Array | None = None
    groups: Array | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_features_in(self) -> int:
        """What scikit-learn calls so: T of X (N, T), else F."""
        return int(self.steps.shape[1]) if self.columns is None else self.columns

    def step_mask(self, chosen: Array) -> Array:
        """Return which steps belong to the chosen sequences; both are flags, (N,) and (S,)."""
        return np.repeat(chosen, self.lengths)

    def as_input(self, steps: Array) -> ModelInput:
        """Return steps (S, F) as a model takes them: (N, T, F), or a list of N views (T_i, F)."""
        if self.rectangular:
            N = len(self.lengths)
            return steps.reshape(N, len(steps) // N, steps.shape[1])
        ends = self.lengths.cumsum().tolist()
        return [steps[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def padded(self, steps: Array, size: int) -> Iterator[tuple[Array, Lengths]]:
        """Yield `size` sequences at a time as (B, T, F), T the longest of them, and their lengths.

        Zeros stand behind the ends; `steps` (S, F) are those of all sequences.
        """
        end = 0
        for start in range(0, len(self), size):
            lengths = self.lengths[start : start + size]
            begin, end = end, end + int(lengths.sum())
            T = int(lengths.max())
            x = np.zeros((len(lengths), T, steps.shape[1]), steps.dtype)
            x[np.arange(T) < lengths[:, None]] = steps[begin:end]
            yield x, lengths

    def check_finite(self) -> None:
        """Raise ValueError for NaN or infinity in X, with its place."""
        if np.isfinite(self.steps).all():
            return
        at, feature = (int(i) for i in np.argwhere(~np.isfinite(self.steps))[0])
        value = self.steps[at, feature]
        got = "NaN" if np.isnan(value) else str(float(value))
        row = int(np.searchsorted(self.lengths.cumsum(), at, side="right"))
        step = at - int(self.lengths[:row].sum())
        column = feature if self.columns is None else step
        named = "" if self.names is None else f" ({self.names[column]!r})"
        if self.columns is not None:
            place = f"row {row}, column {column}{named}"
        else:
            place = f"sequence {row}, step {step}, feature {column}{named}"
        raise ValueError(f"X: expected finite numbers, got {got} in {place}")


def read_arrays(X: Any) -> Sequences:
    """Return sequences of an array (N, T, F) or (N, T), or of a list of arrays.

    Raises
    ------
    TypeError, ValueError
        If X is none of these, holds nothing, or no finite real numbers.
    """
    if hasattr(X, "tocsr"):
        raise TypeError(
            f"X: expected a dense array, got sparse {type(X).__name__}; use X.toarray()"
        )
    if is_list(X) and not _is_table_of_lists(X):
        return _read_list(X)
    array = _real(as_numpy("X", X))
    if array.ndim == 2:
        _refuse_nothing(array)
        found = Sequences(array.reshape(-1, 1), _same(array), True, columns=array.shape[1])
    elif array.ndim == 3:
        _refuse_nothing(array)
        found = Sequences(array.reshape(-1, array.shape[2]), _same(array), True)
    else:
        raise ValueError(
            f"X: expected (n, T, F), (n, T), a list of arrays (T_i, F) or a data frame, got shape "
            f"{array.shape}. Reshape your data: X[None] for one sequence (T, F), X[None, :, None] "
            "for one (T,)"
        )
    found.check_finite()
    return found


def _is_table_of_lists(X: Any) -> bool:
    """Whether this is an array written as lists: of numbers, or of steps, all as long."""
    if not isinstance(X, (list, tuple)) or not isinstance(X[0], (list, tuple, int, float)):
        return False
    if not isinstance(X[0], (list, tuple)):
        return True
    width = len(X[0])
    return all(isinstance(row, (list, tuple)) and len(row) == width for row in X)


def _read_list(X: Any) -> Sequences:
    """Return a list's sequences, (T_i, F) or, of one feature, (T_i,)."""
    arrays = list(X)
    alike = all(type(array) is np.ndarray for array in arrays)
    dimensions = arrays[0].ndim if alike else 0
    try:
        if dimensions not in (1, 2):
            raise ValueError
        steps = np.concatenate(arrays)  # refuses other dimensions or features
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
    except ValueError:  # slower, with errors that say where
        arrays, lengths = read_sequences("X", arrays)
        steps = np.concatenate(arrays)
    steps = _real(steps)
    if steps.ndim == 1:
        steps = steps[:, None]
    if steps.size == 0:
        raise ValueError(f"X: expected steps, got {len(arrays)} empty sequences")
    found = Sequences(steps, lengths, rectangular=False)
    found.check_finite()
    return found


def _same(array: Array) -> Lengths:
    return np.full(len(array), array.shape[1], np.int64)


def _real(array: Array) -> Array:
    """Return real numbers, of objects too if each is one; TypeError or ValueError for others."""
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind == "c":
        raise ValueError(f"X: expected real numbers, got {array.dtype}: Complex data not supported")
    if array.dtype != object:
        raise TypeError(f"X: expected real numbers, got dtype {array.dtype}")
    for place, value in np.ndenumerate(array):
        if isinstance(value, (str, bytes)):
            raise TypeError(f"X: expected real numbers, got {value!r} at index {place}")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"X: expected real numbers: {error}") from None


def _refuse_nothing(array: Array) -> None:
    """Raise ValueError for no samples or no features, in scikit-learn's words."""
    N, width = len(array), math.prod(array.shape[1:])
    for count, what in ((N, "sample"), (width, "feature")):
        if count == 0:
            raise ValueError(
                f"X: Found array with 0 {what}(s) (shape={array.shape}) while a minimum of 1 is "
                "required."
            )


def check_names(fitted: Array | None, given: Array | None, kind: str) -> None:
    """Raise ValueError for columns other than those of the fit, in scikit-learn's words.

    Warn where only one of fit and this call has names.
    """
    if given is None and fitted is not None:
        _warn(f"X does not have valid feature names, but {kind} was fitted with feature names")
    elif given is not None and fitted is None:
        _warn(f"X has feature names, but {kind} was fitted without feature names")
    if given is None or fitted is None or given.tolist() == fitted.tolist():
        return
    text = "The feature names should match those that were passed during fit.\n"
    unseen, missing = sorted({*given} - {*fitted}), sorted({*fitted} - {*given})
    if unseen:
        text += "Feature names unseen at fit time:\n" + _few(unseen)
    if missing:
        text += "Feature names seen at fit time, yet now missing:\n" + _few(missing)
    if not unseen and not missing:
        text += "Feature names must be in the same order as they were in fit.\n"
    raise ValueError(text)


def _few(names: list[str], most: int = 5) -> str:
    shown = "".join(f"- {name}\n" for name in names[:most])
    return shown + "- ...\n" * (len(names) > most)


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=users_level())
