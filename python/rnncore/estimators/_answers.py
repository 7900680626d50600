"""Answers: what Seq2Seq is to answer, a sequence for each, and the caller's own kind of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._ragged import is_list
from rnncore._types import Array, Lengths
from rnncore.estimators._labels import read_labels
from rnncore.estimators._sequences import Sequences
from rnncore.standardizer import Standardizer


@dataclass(eq=False, slots=True)
class Answers:
    """N sequences of labels or numbers.

    Attributes
    ----------
    flat : numpy.ndarray, shape (S,) or (S, O)
        The elements of all, one after the other.
    lengths : numpy.ndarray of int64, shape (N,)
        Elements of each.
    kind : {"text", "list", "array"}
        What each one was.
    """

    flat: Array
    lengths: Lengths
    kind: str

    @property
    def numeric(self) -> bool:
        """Whether these are numbers; whatever has no fraction is a label."""
        return bool(self.flat.dtype.kind == "f")

    def split(self, flat: Array) -> list[Array]:
        """Return other elements (S, ...) as a list of N views."""
        ends = self.lengths.cumsum().tolist()
        return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def is_text(X: Any) -> bool:
    """Whether X holds sequences of symbols: strings, or lists of strings."""
    if isinstance(X, np.ndarray) and X.dtype.kind in "US":
        return True
    if not isinstance(X, (list, tuple)) and not is_list(X):
        return False
    for item in X:
        if isinstance(item, str):
            return True
        if np.ndim(item) > 0 and len(item) > 0:
            return isinstance(np.asarray(item).ravel()[0], str)
    return False


def read_answers(y: Any, N: int | None = None, *, numbers: bool = False) -> Answers:
    """Return sequences of labels, or of floats.

    Parameters
    ----------
    y : list of N strings, lists or arrays (S_i,), or array (N, S); of floats with a last axis O too
    N : int, optional
    numbers : bool
        Whether integers and booleans are numbers too, and no labels.

    Raises
    ------
    ValueError, TypeError
        If y is none of these, or has another number of sequences.
    """
    if y is None or isinstance(y, str) or np.ndim(y[:0] if hasattr(y, "__getitem__") else y) == 0:
        raise ValueError(f"y: expected a list of sequences, or an array, got {type(y).__name__}")
    items = list(y)
    if N is not None and len(items) != N:
        raise ValueError(f"y: expected one sequence for each of the {N} of X, got {len(items)}")
    if not items:
        raise ValueError("y: expected at least one sequence, got none")
    kind = "array"
    if isinstance(items[0], str):
        kind = "text"
    elif isinstance(items[0], (list, tuple)):
        kind = "list"
    arrays = [_array(i, item) for i, item in enumerate(items)]
    lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
    full = [array for array in arrays if len(array) > 0]
    if not full:
        raise ValueError(f"y: expected labels or numbers, got {len(items)} empty sequences")
    try:
        flat = np.concatenate(full)
    except ValueError as error:
        raise ValueError(f"y: expected sequences alike in shape: {error}") from None
    if numbers and flat.dtype.kind in "iub":
        flat = flat.astype(np.float64)
    if flat.dtype.kind == "f":
        _check_numbers(flat, lengths)
    else:
        flat = read_labels(flat, None, "y")
    return Answers(flat, lengths, kind)


def _array(i: int, item: Any) -> Array:
    array = np.array(list(item)) if isinstance(item, str) else np.asarray(item)
    if array.ndim not in (1, 2):
        raise ValueError(f"y[{i}]: expected (S_i,) or (S_i, O), got {array.shape}")
    return array


def _check_numbers(flat: Array, lengths: Lengths) -> None:
    wrong = ~np.isfinite(flat.reshape(len(flat), -1)).all(axis=1)
    if wrong.any():
        at = int(wrong.argmax())
        row = int(np.searchsorted(lengths.cumsum(), at, side="right"))
        step = at - int(lengths[:row].sum())
        raise ValueError(f"y[{row}]: expected finite numbers, got {flat[at]} at step {step}")


def numbers_of(answers: Answers, width: int | None) -> Array:
    """Return the numbers of all steps (S, O); ValueError unless O is `width`, or 1 for None."""
    values = answers.flat.astype(np.float64).reshape(len(answers.flat), -1)
    wanted = width or 1
    if values.shape[1] != wanted:
        raise ValueError(f"y: expected {wanted} numbers a step, got {values.shape}")
    return values


def in_kind(kind: str, sequences: list[Array]) -> list[Any]:
    """Return sequences of labels as the caller gave his own."""
    if kind == "text":
        return ["".join(map(str, sequence)) for sequence in sequences]
    return [sequence.tolist() for sequence in sequences] if kind == "list" else sequences


def in_unit(outputs: Any, scaler: Standardizer | None, width: int | None) -> Any:
    """Return a model's outputs in the unit of y, an array or a list as they are.

    Parameters
    ----------
    outputs : numpy.ndarray, shape (N, T, O), or list of (T_i, O)
    scaler : Standardizer or None
        Of y.
    width : int or None
        O; None: y had no axis of outputs, and the result has none.
    """
    rows = outputs if isinstance(outputs, list) else [outputs]
    found = [row if scaler is None else scaler.inverse(row, "all") for row in rows]
    if width is None:
        found = [row[..., 0] for row in found]
    return found if isinstance(outputs, list) else found[0]


def steps_of(x: Any, sequences: Sequences | None) -> Array:
    """Return how many steps each sequence has (N,)."""
    if sequences is not None:
        return sequences.lengths
    return np.fromiter(map(len, x), np.int64, len(x))


def check_aligned(answers: Answers, steps: Array) -> None:
    """Raise ValueError unless there is an answer for each of the sequences' steps (N,)."""
    if (wrong := answers.lengths != steps).any():
        at = int(wrong.argmax())
        raise ValueError(
            f"y[{at}]: expected an answer for each of the {steps[at]} steps of X[{at}], got "
            f"{answers.lengths[at]}"
        )
