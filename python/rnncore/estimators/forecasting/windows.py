"""Windows: pieces of series under one another, a past that is seen and a future to forecast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rnncore._types import Array

_BLOCK = 1 << 22  # numbers of a block of windows that are looked at together


@dataclass(eq=False)
class SeriesTable:
    """G series, all rows under one another; steps are consecutive inside a segment alone.

    Attributes
    ----------
    target : numpy.ndarray of float64, shape (N, D)
        What is forecast, in its own unit; NaN where it is missing.
    past : numpy.ndarray of float64, shape (N, P)
        Columns known up to now.
    known : numpy.ndarray of float64, shape (N, K)
        Columns known ahead: the user's, then those of the calendar.
    static : numpy.ndarray of float64, shape (G, S)
        Columns that do not change within a series.
    bounds : numpy.ndarray of int64, shape (G + 1,)
        Series g has the rows ``bounds[g]:bounds[g + 1]``.
    segments : numpy.ndarray of int64, shape (Q, 2)
        First row, and the row behind the last.
    """

    target: Array
    past: Array
    known: Array
    static: Array
    bounds: Array
    segments: Array

    @property
    def rows(self) -> Array:
        """Rows of each series, (G,)."""
        return np.asarray(np.diff(self.bounds))

    def series_of(self, rows: Array) -> Array:
        """Return which series each row belongs to."""
        return np.asarray(np.searchsorted(self.bounds, rows, side="right") - 1)


@dataclass(eq=False)
class Windows:
    """M windows of a table: `past` steps from `starts` on, and `future` steps behind them.

    Attributes
    ----------
    table : SeriesTable
    starts : numpy.ndarray of int64, shape (M,)
        First rows.
    past, future : int
        L and H.
    """

    table: SeriesTable
    starts: Array
    past: int
    future: int

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def series(self) -> Array:
        """Which series each window lies in, (M,)."""
        return self.table.series_of(self.starts)

    @property
    def past_rows(self) -> Array:
        """Rows that are seen, (M, L)."""
        return np.asarray(self.starts[:, None] + np.arange(self.past))

    @property
    def future_rows(self) -> Array:
        """Rows to forecast, (M, H)."""
        return np.asarray(self.starts[:, None] + np.arange(self.past, self.past + self.future))

    @property
    def truth(self) -> Array:
        """What came, in its own unit, (M, H, D)."""
        return np.asarray(self.table.target[self.future_rows])

    def take(self, which: Array | slice) -> Windows:
        """Return some of the windows."""
        return Windows(self.table, self.starts[which], self.past, self.future)

    def every(self, step: int) -> Windows:
        """Return every step-th window of each piece without gaps; the last one ends with it."""
        ends = np.append(np.flatnonzero(np.diff(self.starts) != 1), len(self) - 1)
        left = ends[np.searchsorted(ends, np.arange(len(self)))] - np.arange(len(self))
        return self.take(np.flatnonzero(left % step == 0))

    def thinned(self, most: int) -> Windows:
        """Return at most so many, evenly chosen."""
        if len(self) <= most:
            return self
        return self.take(np.linspace(0, len(self) - 1, most).round().astype(np.int64))

    def blocks(self, width: int) -> Iterator[Windows]:
        """Cut them into blocks that take little memory, at `width` numbers a window."""
        size = max(1, _BLOCK // max(1, width))
        return (self.take(slice(at, at + size)) for at in range(0, len(self), size))


def windows_between(
    table: SeriesTable, past: int, future: int, lows: Array, highs: Array, reach: int = 0
) -> Windows:
    """Return every window whose future lies between two rows of its series, in one segment.

    Parameters
    ----------
    table : SeriesTable
    past, future : int
        L and H.
    lows, highs : numpy.ndarray of int64, shape (G,)
        The first row of each series that may be used, and the row behind the last.
    reach : int
        How many rows in front of `lows` the past may reach: L lets the first forecast be of the
        first row.
    """
    found = [np.zeros(0, np.int64)]
    for g, (start, stop) in zip(table.series_of(table.segments[:, 0]), table.segments, strict=True):
        first, last = max(start, lows[g] - reach), min(stop, highs[g]) - past - future
        found.append(np.arange(first, max(first, last + 1)))
    return Windows(table, np.concatenate(found), past, future)
