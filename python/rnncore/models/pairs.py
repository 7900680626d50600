"""Pairs: checked sources and targets of different lengths, as an encoder-decoder trains on them."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_integers, as_numpy, check_lengths, refuse
from rnncore._ragged import is_ragged
from rnncore._types import Array, Lengths
from rnncore.decoding import Marks


@dataclass(frozen=True, eq=False)
class Pairs:
    """N sources and, for each, what is to be written.

    Attributes
    ----------
    x : numpy.ndarray, shape (N, T, I), or tokens (N, T)
        Sources.
    lengths : numpy.ndarray of int64, shape (N,), or None
        Valid steps of the sources; None where all are.
    labels : numpy.ndarray of int64, shape (N, S)
        Each target with the end mark behind it; end marks up to S.
    steps : numpy.ndarray of int64, shape (N,)
        Length of each target, its end mark counted.
    """

    x: Array
    lengths: Lengths | None
    labels: Array
    steps: Lengths

    def __len__(self) -> int:
        return len(self.x)

    @property
    def count(self) -> int:
        """How many labels the mean loss is taken over."""
        return int(self.steps.sum())

    @property
    def valid(self) -> Array:
        """Where the loss counts: (N, S), True up to the end mark of each target."""
        return np.asarray(np.arange(self.labels.shape[1]) < self.steps[:, None])

    def inputs(self, start: int) -> Array:
        """Return what the decoder reads: the labels, one step later, behind the start mark."""
        first = np.full((len(self.labels), 1), start)
        return np.concatenate([first, self.labels[:, :-1]], axis=1)

    def take(self, which: Any) -> Pairs:
        """Return the chosen pairs, cut after the longest source and target among them."""
        lengths, steps = None if self.lengths is None else self.lengths[which], self.steps[which]
        T = self.x.shape[1] if lengths is None else int(lengths.max(initial=0))
        S = int(steps.max(initial=1))
        return Pairs(self.x[which][:, :T], lengths, self.labels[which][:, :S], steps)


def make_pairs(x: Array, lengths: Lengths | None, y: Any, V: int, marks: Marks) -> Pairs:
    """Check targets, of V classes, against sources that are checked already.

    Parameters
    ----------
    x, lengths
        As `Pairs` holds them.
    y : list of N array_like of int (S_i,); a pair of (N, S) and lengths (N,); array_like (N, S)
        Labels without start and end marks; S_i may be 0. The pair is what `rnncore.data.pad`
        gives: what lies behind a length is not read.
    V : int
    marks : Marks

    Raises
    ------
    TypeError
        If y holds no integers.
    ValueError
        If there are not N targets, or a label is out of range or a start or end mark.
    """
    rows = _rows(y)
    if len(rows) != len(x):
        raise ValueError(f"y: expected {len(x)} sequences as in x, got {len(rows)}")
    steps = np.array([len(row) + 1 for _, row in rows], np.int64)
    labels = np.full((len(rows), int(steps.max(initial=1))), marks.end)
    for into, (name, row) in zip(labels, rows, strict=True):
        into[: len(row)] = row
        wrong = (row < 0) | (row >= V) | (row == marks.start) | (row == marks.end)
        refuse(
            name, row, wrong,
            f"labels in [0, {V}) but for the marks {marks.start} and {marks.end}",
        )  # fmt: skip
    return Pairs(x, lengths, labels, steps)


def padded_targets(y: Any) -> Array:
    """Return what comes with lengths as an array (N, S); ValueError for anything else."""
    if is_ragged(y):
        raise ValueError("lengths: expected None with a list of targets, got an array")
    table = as_numpy("y", y)
    if table.ndim != 2:
        raise ValueError(f"y: expected (N, S) with lengths, got {table.shape}")
    return table


def _rows(y: Any) -> list[tuple[str, Array]]:
    """Return each target as integers (S_i,), and its name for errors."""
    ends: Lengths | None = None
    if isinstance(y, tuple) and len(y) == 2 and np.ndim(as_numpy("y[0]", y[0])) == 2:
        name, table = "y[0]", as_integers("y[0]", y[0], "integer labels")
        ends = check_lengths(y[1], table.shape[1], len(table))
    elif isinstance(y, (list, tuple)):
        rows = [as_integers(f"y[{i}]", row, "integer labels") for i, row in enumerate(y)]
        for i, row in enumerate(rows):
            if row.ndim != 1:
                raise ValueError(f"y[{i}]: expected labels (S_i,), got {row.shape}")
        return [(f"y[{i}]", row) for i, row in enumerate(rows)]
    else:
        name, table = "y", as_integers("y", y, "integer labels")
        if table.ndim != 2:
            raise ValueError(f"y: expected labels (N, S) or a list of (S_i,), got {table.shape}")
    if ends is None:
        ends = np.full(len(table), table.shape[1])
    return [
        (f"{name}[{i}]", row[:end]) for i, (row, end) in enumerate(zip(table, ends, strict=True))
    ]


def check_mark(name: str, value: Any, V: int) -> int:
    """Return a token in [0, V) as an int; TypeError for no integer, ValueError outside."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        token = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a token in [0, {V}), got {value!r}") from None
    if not 0 <= token < V:
        raise ValueError(f"{name}: expected a token in [0, {V}), got {token}")
    return token
