"""Panel: the regular series of a table, one for each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnncore._types import Array
from rnncore.estimators.tables.encoding import Encoding
from rnncore.estimators.tables.frequency import Frequency
from rnncore.estimators.tables.roles import Roles
from rnncore.estimators.tables.times import TimeKind, Times


@dataclass(frozen=True)
class Ahead:
    """The steps after the last target whose future columns are known, M of them, maybe 0.

    Attributes
    ----------
    step : numpy.ndarray of int64, shape (M,)
        They follow the series' last step without a gap.
    times : Times
        Of M rows.
    future : numpy.ndarray of float64, shape (M, F)
    """

    step: Array
    times: Times
    future: Array


@dataclass(frozen=True)
class RegularSeries:
    """One group's series, N rows in the order of their steps, each step once.

    Attributes
    ----------
    key : tuple
        The group's values; () without groups.
    step : numpy.ndarray of int64, shape (N,)
        Numbers of steps: consecutive but at gaps. Comparable between groups, unless every row is a
        step.
    times : Times
        Of N rows.
    target, past, future : numpy.ndarray of float64, shape (N, D), (N, P), (N, F)
        NaN where a value is missing.
    static : numpy.ndarray of float64, shape (S,)
    segments : list of (start, stop)
        Runs of rows, as long as they can be, whose steps are consecutive and miss no value.
    ahead : Ahead
        What is known of the steps after the last.
    """

    key: tuple[Any, ...]
    step: Array
    times: Times
    target: Array
    past: Array
    future: Array
    static: Array
    segments: list[tuple[int, int]]
    ahead: Ahead

    @property
    def time(self) -> Array:
        """Instants in UTC (N,), a wall clock without a zone, or integers."""
        return self.times.values

    @property
    def local(self) -> Array:
        """The wall clock (N,), for the calendar."""
        return self.times.local

    def __len__(self) -> int:
        """Return N."""
        return len(self.step)


@dataclass(frozen=True)
class Panel:
    """Series of one table.

    Attributes
    ----------
    series : list of RegularSeries
        One for each group, in order of first appearance.
    frequency : Frequency
    kind : TimeKind
        What the caller's times are: `series[0].times.at(values)` makes others alike.
    roles : Roles
        The columns by what they are for.
    encoding : Encoding
        Of the past, future and static columns.
    repairs : list of str
        What was repaired, a line each; empty for a regular table.
    """

    series: list[RegularSeries]
    frequency: Frequency
    kind: TimeKind
    roles: Roles
    encoding: Encoding
    repairs: list[str]

    @property
    def target_names(self) -> list[str]:
        """Names of the D columns of `target`."""
        return [str(name) for name in self.roles.target]

    @property
    def past_names(self) -> list[str]:
        """Names of the P columns of `past`, such as "shop=A"."""
        return self.encoding.names(self.roles.past)

    @property
    def future_names(self) -> list[str]:
        """Names of the F columns of `future`."""
        return self.encoding.names(self.roles.future)

    @property
    def static_names(self) -> list[str]:
        """Names of the S numbers of `static`."""
        return self.encoding.names(self.roles.static)
