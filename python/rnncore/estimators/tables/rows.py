"""Rows of a table in the order of group and step, with all that is irregular in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.tables import zones
from rnncore.estimators.tables.frequency import Frequency
from rnncore.estimators.tables.times import Times, in_zone, short

_NIGHT = np.timedelta64(4, "h")  # clocks change before it


@dataclass(frozen=True)
class Rows:
    """N rows; after `ordered` those of a group stand together, in the order of their steps.

    Attributes
    ----------
    group, step, row : numpy.ndarray of int64, shape (N,)
        The group's code, the number of the step, and the row of the caller's table.
    times : Times
        Of N rows.
    target, past, future : numpy.ndarray of float64, shape (N, D), (N, P), (N, F)
        NaN where a value is missing.
    past_labels, future_labels : numpy.ndarray of bool, shape (P,), (F,)
        Which columns belong to categories: they are never averaged.
    """

    group: Array
    step: Array
    row: Array
    times: Times
    target: Array
    past: Array
    future: Array
    past_labels: Array
    future_labels: Array

    def __len__(self) -> int:
        """Return N."""
        return len(self.group)

    def take(self, index: Array) -> Rows:
        """Return some of the rows."""
        arrays = {
            name: getattr(self, name)[index]
            for name in ("group", "step", "row", "target", "past", "future")
        }
        return replace(self, times=self.times.part(index), **arrays)

    def first(self) -> Array:
        """Return which rows (N,) are the first of their group, once ordered."""
        return np.asarray(np.diff(self.group, prepend=-1) != 0)


@dataclass
class Faults:
    """What is irregular in a table: a line each, how it is repaired, and what else may help."""

    groups: Sequence[tuple[Any, ...]]
    found: list[tuple[str, str, str]]

    def add(
        self, count: int, what: tuple[str, str], place: str, repair: str, advice: str = ""
    ) -> None:
        """Note some places, by the words for one and for many; none if the count is 0."""
        if count:
            text = f"{count} {what[count > 1]}, {'the first ' * (count > 1)}{place}"
            self.found.append((text, repair, advice))

    def where(self, group: int) -> str:
        """Return " in group 'A'"; nothing without groups."""
        key = self.groups[group]
        if not key:
            return ""
        return f" in group {key[0]!r}" if len(key) == 1 else f" in group {key!r}"

    def error(self) -> ValueError:
        """Return the error that names them all."""
        lines = [
            f"- {text}; repair {repair}" + (f"; {advice}" if advice else "")
            for text, repair, advice in self.found
        ]
        return ValueError(
            "data: expected regular series, found what follows "
            "(irregular='repair' does as it says):\n" + "\n".join(lines)
        )

    def repairs(self) -> list[str]:
        """Return what was repaired, a line each."""
        return [f"{text}: {repair}" for text, repair, _ in self.found]


def in_timezone(rows: Rows, zone: str, faults: Faults) -> Rows:
    """Return rows with the times of a zone; of an hour shown twice the later rows are later."""
    local, clock = rows.times.values, rows.times.timezone is None
    second = np.zeros(len(rows), np.bool_)
    if clock:
        order = np.lexsort((local, rows.group))
        same = (np.diff(rows.group[order], prepend=-1) == 0) & np.concatenate(
            [[False], np.diff(local[order]).astype(np.int64) == 0]
        )[: len(rows)]
        second[order] = same
        never = zones.never_shown(local, zone)
        if never.any():
            at = int(never.argmax())
            faults.add(
                int(never.sum()),
                (
                    f"time that clocks of {zone} never show (a clock change)",
                    f"times that clocks of {zone} never show (a clock change)",
                ),
                f"{short(local[at])}{faults.where(int(rows.group[at]))}, row {int(rows.row[at])}",
                "reads the clock before the change",
            )
    return replace(rows, times=in_zone(rows.times, zone, second))


def ordered(rows: Rows, frequency: Frequency, faults: Faults) -> Rows:
    """Return the rows in order, one for each step that has any, and note what had to be done."""
    values = rows.times.values
    _note_disorder(rows, faults)
    if frequency.unit == "rows":
        rows = rows.take(np.lexsort((values, rows.group)))
        count = np.arange(len(rows))
        step = count - count[rows.first()][np.cumsum(rows.first()) - 1]
        doubled = np.concatenate([[False], rows.times.values[1:] == rows.times.values[:-1]])
        return _merged(replace(rows, step=step), doubled & ~rows.first(), frequency, faults)
    step, exact = frequency.steps(rows.times, frequency.phase(rows.times, rows.group))
    rows = _on_steps(replace(rows, step=step), exact, frequency, faults)
    rows = rows.take(np.lexsort((rows.times.values, rows.step, rows.group)))
    doubled = ~rows.first() & (np.diff(rows.step, prepend=0) == 0)
    return _merged(rows, doubled, frequency, faults)


def _note_disorder(rows: Rows, faults: Faults) -> None:
    order = np.argsort(rows.group, kind="stable")
    values, first = rows.times.values[order], np.diff(rows.group[order], prepend=-1) != 0
    back = ~first & np.concatenate([[False], values[1:] < values[:-1]])[: len(rows)]
    if back.any():
        at = int(np.flatnonzero(back)[rows.row[order][back].argmin()])
        before, here = (short(rows.times.local[order[i]]) for i in (at - 1, at))
        faults.add(
            int(back.sum()),
            ("row earlier than the one before it", "rows earlier than the one before them"),
            f"{here} after {before}{faults.where(int(rows.group[order[at]]))}, "
            f"row {int(rows.row[order[at]])}",
            "sorts the rows",
        )


def _on_steps(rows: Rows, exact: Array, frequency: Frequency, faults: Faults) -> Rows:
    """Note times between two steps, and move them to the nearest; weekends are left out."""
    if exact.all():
        return rows
    at = int((~exact).argmax())
    faults.add(
        int((~exact).sum()),
        (f"time between steps of {frequency}", f"times between steps of {frequency}"),
        f"{short(rows.times.local[at])}{faults.where(int(rows.group[at]))}, row "
        f"{int(rows.row[at])}",
        "leaves the rows out" if frequency.unit == "B" else "takes the nearest step",
    )
    if frequency.unit == "B":
        return rows.take(np.flatnonzero(exact))
    if frequency.nanoseconds is None and not rows.times.is_integer:
        return rows
    phase = frequency.phase(rows.times, rows.group)
    ticks = rows.step * frequency.spacing(rows.times) + phase
    values = ticks if rows.times.is_integer else ticks.view(rows.times.values.dtype)
    return replace(rows, times=rows.times.at(values))


def _merged(rows: Rows, doubled: Array, frequency: Frequency, faults: Faults) -> Rows:
    """Average the numbers of rows of one step."""
    if not doubled.any():
        return rows
    clock = _hours_twice(rows, doubled, frequency)
    for flags, change in ((doubled & ~clock, ""), (clock, " (the clock went back an hour)")):
        if flags.any():
            at = int(flags.argmax())
            faults.add(
                int(flags.sum()),
                (f"time that occurs twice{change}", f"times that occur twice{change}"),
                f"{short(rows.times.local[at])}{faults.where(int(rows.group[at]))}, rows "
                f"{int(rows.row[at - 1])} and {int(rows.row[at])}",
                "averages the rows",
                "timezone= tells them apart" if change else "",
            )
    start = np.flatnonzero(~doubled)
    return replace(
        rows.take(start),
        target=_means(rows.target, start),
        past=np.where(rows.past_labels, rows.past[start], _means(rows.past, start)),
        future=np.where(rows.future_labels, rows.future[start], _means(rows.future, start)),
    )


def _means(values: Array, start: Array) -> Array:
    """Return the mean of each run of rows (N, K), of what is not missing."""
    if values.shape[1] == 0:
        return values[start]
    there = ~np.isnan(values)
    sums = np.add.reduceat(np.where(there, values, 0.0), start, axis=0)
    counts = np.add.reduceat(there.astype(np.int64), start, axis=0)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))


def _per_hour(rows: Rows, frequency: Frequency) -> int:
    """Return the steps of an hour where a wall clock without a zone may change; else 0."""
    length, hour = frequency.nanoseconds, 3600 * 10**9
    if rows.times.timezone is not None or length is None or hour % length:
        return 0
    return hour // length


def _hours_twice(rows: Rows, doubled: Array, frequency: Frequency) -> Array:
    """Return which doubled rows (N,) look like an hour that a wall clock showed twice."""
    steps, local = _per_hour(rows, frequency), rows.times.local
    if steps == 0:
        return np.zeros(len(rows), np.bool_)
    index = np.flatnonzero(doubled)
    day = local[index].astype("datetime64[D]")
    night = local[index] - day < _NIGHT
    keys = np.stack([rows.group[index], day.astype(np.int64)])
    _, inverse, counts = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    result = np.zeros(len(rows), np.bool_)
    result[index] = night & (counts[inverse.reshape(-1)] == steps)
    return result


def note_gaps(rows: Rows, frequency: Frequency, faults: Faults) -> None:
    """Note where steps are missing, and which of these look like clocks put forward."""
    missing = np.where(rows.first(), 0, np.diff(rows.step, prepend=0) - 1)
    gap, hour = missing > 0, _per_hour(rows, frequency)
    change = np.zeros(len(rows), np.bool_)
    if hour:
        local = rows.times.local
        change = gap & (missing == hour) & (local - local.astype("datetime64[D]") <= _NIGHT)
    for flags, what in ((gap & ~change, ""), (change, " of an hour at night (a clock change?)")):
        if flags.any():
            at = int(flags.argmax())
            faults.add(
                int(flags.sum()),
                (f"gap{what}", f"gaps{what}"),
                f"after {short(rows.times.local[at - 1])}{faults.where(int(rows.group[at]))}: "
                f"{frequency.duration(int(missing[at]))} missing",
                "cuts the series",
                _advice(frequency, bool(what)),
            )


def _advice(frequency: Frequency, change: bool) -> str:
    if change:
        return "timezone= reads a wall clock as it is meant"
    if frequency.unit in ("B", "D"):
        return "freq='rows' counts rows, such as trading days, as steps"
    return ""
