"""What the data sets are returned as."""

from __future__ import annotations

from typing import Any, NamedTuple

from rnncore._types import Array


class Series(NamedTuple):
    """Values at known times.

    Attributes
    ----------
    time : numpy.ndarray of datetime64, shape (N,)
        Local time in hours or days, strictly increasing.
    values : numpy.ndarray of float64, shape (N, F)
        One column per name.
    names : tuple of str
        What each column is.
    units : tuple of str
        Unit of each column.
    """

    time: Array
    values: Array
    names: tuple[str, ...]
    units: tuple[str, ...]


class LabelledSeries(NamedTuple):
    """Values at known times, and a class of each time.

    Attributes
    ----------
    time, values, names, units
        As of `Series`.
    labels : numpy.ndarray of int64, shape (N,)
        Positions in `classes`.
    classes : tuple of str
        Names of the classes.
    """

    time: Array
    values: Array
    names: tuple[str, ...]
    units: tuple[str, ...]
    labels: Array
    classes: tuple[str, ...]


class Sequences(NamedTuple):
    """Sequences of different lengths, and a class of each.

    Attributes
    ----------
    x : list of N numpy.ndarray, each of shape (T_i, F), or of N str
        Features in their own dtype, or symbols.
    labels : numpy.ndarray of int64, shape (N,)
        Positions in `classes`.
    classes : tuple of str
        Names of the classes.
    train, test : slice or None
        The parts that the set's authors fixed, for `x` and `labels`; None where they fixed none.
    """

    x: list[Any]
    labels: Array
    classes: tuple[str, ...]
    train: slice | None
    test: slice | None

    def __repr__(self) -> str:
        return f"Sequences({len(self.x)} sequences of {len(self.classes)} classes)"


class RatedTexts(NamedTuple):
    """Texts, and a number for each.

    Attributes
    ----------
    texts : list of N str
        One line each.
    ratings : numpy.ndarray of float64, shape (N,)
        Higher is better.
    """

    texts: list[str]
    ratings: Array

    def __repr__(self) -> str:
        return f"RatedTexts({len(self.texts)} texts, the first {self.texts[:1]})"


class Pairs(NamedTuple):
    """A sequence of symbols for each sequence of symbols, not aligned.

    Attributes
    ----------
    sources : list of N str
        Characters.
    targets : list of N tuple of str
        Symbols.
    others : list of N tuple of tuple of str
        Further targets that are as right as the first: other pronunciations of a word.
    """

    sources: list[str]
    targets: list[tuple[str, ...]]
    others: list[tuple[tuple[str, ...], ...]]

    def __repr__(self) -> str:
        first = list(zip(self.sources, self.targets, strict=True))[:1]
        return f"Pairs({len(self.sources)} sources and targets, the first {first})"
