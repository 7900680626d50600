"""Frequency: how far apart the steps of a series are, found in times or read from text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rnncore._checks import as_integers
from rnncore._parts import storable
from rnncore._types import Array
from rnncore.estimators.tables import zones
from rnncore.estimators.tables.times import Times

_FIXED = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_WORDS = {"h": "hour", "min": "minute", "s": "second", "D": "day", "B": "business day"}
_WORDS |= {"W": "week", "M": "month", "Q": "quarter", "Y": "year", "integer": "step"}
_NAMES = {"H": "h", "d": "D", "w": "W", "mo": "M", "q": "Q", "A": "Y", "y": "Y", "T": "min"}
_NAMES |= {"MS": "M", "ME": "M", "QS": "Q", "QE": "Q", "YS": "Y", "YE": "Y", "AS": "Y", "C": "B"}
_NAMES |= {"BME": "M", "BMS": "M", "BM": "M", "BQE": "Q", "BQS": "Q", "BYE": "Y", "BYS": "Y"}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_DAYS = {"D": 1, "W": 7}
_MONDAY = np.datetime64("1970-01-05", "D")


@storable
@dataclass(frozen=True)
class Frequency:
    """The distance of two steps.

    Attributes
    ----------
    unit : str
        "ns", "us", "ms", "s", "min", "h": of the same length each, also through clock changes;
        "D", "W": days of the wall clock; "B": Monday to Friday; "M", "Q", "Y": of the calendar;
        "integer": of integer times; "rows": every row is one step whatever its time.
    count : int
        How many of them a step is.
    anchor : str
        Of months: the day that a step is on, "1" to "31", "end", "business end" or "business
        start"; empty where the day varies.
    nominal : str
        Of rows: the frequency, as text, by which future times are guessed.
    """

    unit: str
    count: int = 1
    anchor: str = ""
    nominal: str = ""

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{self.count if self.count > 1 else ''}{self.unit}"

    def state_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_state_dict`."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Frequency:
        """Return what `state_dict` was called on."""
        return cls(**state)

    @property
    def nanoseconds(self) -> int | None:
        """How long a step is; None where steps differ in length, or are no time."""
        return self.count * _FIXED[self.unit] if self.unit in _FIXED else None

    def duration(self, steps: int) -> str:
        """Say how long some steps are, in words: "2 hours"."""
        number = steps * self.count
        if self.unit not in _WORDS:
            return f"{steps} step{'s' * (steps != 1)} of {self}"
        return f"{number} {_WORDS[self.unit]}{'s' * (number != 1)}"

    def ticks(self, times: Times) -> Array:
        """Return the number (N,) of each time in the units that `spacing` counts."""
        if self.unit in _FIXED:
            return times.values.astype(np.int64)
        if self.unit == "integer":
            return times.values
        days = times.local.astype("datetime64[D]")
        if self.unit in _MONTHS:
            return days.astype("datetime64[M]").astype(np.int64)
        if self.unit == "B":
            return np.asarray(np.busday_count(_MONDAY, days), np.int64)
        return days.astype(np.int64)

    def spacing(self, times: Times) -> int:
        """Return how many ticks of `times` a step has."""
        if self.unit in _FIXED:
            unit = 1 if times.values.dtype == "datetime64[ns]" else 1000
            return max(1, self.count * _FIXED[self.unit] // unit)
        if self.unit in _MONTHS:
            return self.count * _MONTHS[self.unit]
        return self.count * _DAYS.get(self.unit, 1)

    def phase(self, times: Times, groups: Array) -> Array:
        """Return, for each row (N,), the most common rest of its group's ticks by the spacing."""
        spacing = self.spacing(times)
        rest = self.ticks(times) % spacing
        if spacing == 1 or len(rest) == 0:
            return rest
        order = np.lexsort((rest, groups))
        group, rest = groups[order], rest[order]
        first = np.flatnonzero(_changed(group) | _changed(rest))
        counts = np.diff(np.append(first, len(rest)))
        best = np.lexsort((-counts, group[first]))  # each group's largest run comes first
        chosen = best[_changed(group[first][best])]
        phases = np.zeros(int(groups.max()) + 1, np.int64)
        phases[group[first][chosen]] = rest[first][chosen]
        return phases[groups]

    def steps(self, times: Times, phase: Array) -> tuple[Array, Array]:
        """Return the step nearest to each time (N,), and whether the time is that of a step."""
        spacing, ticks = self.spacing(times), self.ticks(times)
        nearest = (ticks - phase + spacing // 2) // spacing
        exact = nearest * spacing + phase == ticks
        if self.unit == "B":
            exact = exact & np.is_busday(times.local.astype("datetime64[D]"))
        return nearest, exact

    def future(self, last: Times, n: int) -> Times:
        """Return the times (n,) of the steps after a time, `last` of one row.

        A step of days keeps its hour on the wall clock; a step of months its day, or the month's
        last day where it has no such day. After "rows", the nominal frequency is a guess.
        """
        return self.after(last, np.arange(1, n + 1))

    def after(self, last: Times, offsets: Array) -> Times:
        """Return the times (K,) that are `offsets` (K,) steps after `last`, of one row."""
        offsets = as_integers("offsets", offsets).astype(np.int64) * self.spacing(last)
        if self.unit == "rows":
            return parse(self.nominal).after(last, offsets)
        if self.unit in _FIXED or self.unit == "integer":
            return last.at(last.values[0] + offsets.astype(_tick_dtype(last)))
        day = last.local[0].astype("datetime64[D]")
        clock = last.local[0] - day
        if self.unit == "B":
            days = np.busday_offset(day, offsets, roll="backward")
        elif self.unit in _MONTHS:
            days = _on_day(day.astype("datetime64[M]") + offsets, self.anchor, day)
        else:
            days = day + offsets
        local = (days + clock).astype(last.local.dtype)
        if last.timezone is None:
            return last.at(local)
        return last.at(zones.from_local(local, last.timezone, np.zeros(len(local), np.bool_)))

    def anchored(self, times: Times) -> Frequency:
        """Return this frequency with the day of the month that `times` are on."""
        if self.unit not in _MONTHS or len(times) == 0:
            return self
        return replace(self, anchor=_anchor(times.local.astype("datetime64[D]")) or "")


def parse(text: Any) -> Frequency:
    """Return the frequency that a text says: "15min", "h", "D", "B", "2W", "M", "Q", "Y", "rows".

    An integer is the distance of integer times. What pandas calls "MS", "ME" or "W-SUN" is read
    too: the times themselves say which day a step is on.
    """
    if isinstance(text, Frequency):
        return text
    if isinstance(text, (int, np.integer)) and not isinstance(text, bool) and text > 0:
        return Frequency("integer", int(text))
    if text == "rows":
        return Frequency("rows", nominal="D")
    found = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-[A-Z]{3})?", text) if isinstance(text, str) else None
    unit = "" if found is None else _NAMES.get(found[2], found[2])
    count = int(found[1] or 1) if found is not None else 0
    if (unit not in _FIXED and unit not in _WORDS) or count == 0:
        raise ValueError(
            "freq: expected a number with a unit of ns, us, ms, s, min, h, D, B, W, M, Q, Y "
            f"(such as '15min'), 'rows' or a positive integer, got {text!r}"
        )
    return Frequency(unit, count)


def infer(times: Times, groups: Array | None = None) -> Frequency:
    """Return the frequency of most steps, of times in any order.

    Parameters
    ----------
    times : Times
        Of N rows.
    groups : numpy.ndarray of int64, shape (N,), optional
        Which series each row belongs to.

    Raises
    ------
    ValueError
        If no series has two different times.
    """
    groups = np.zeros(len(times), np.int64) if groups is None else groups
    order = np.lexsort((times.values, groups))
    values, local = times.values[order], times.local[order]
    same = ~_changed(groups[order])[1:]
    differences = np.diff(values)[same].astype(np.int64)
    differences = differences[differences > 0]
    if len(differences) == 0:
        raise ValueError(
            "freq: expected two different times in a series to find how far apart steps are; "
            "pass freq="
        )
    if times.is_integer:
        return Frequency("integer", _most_common(differences))
    days = local.astype("datetime64[D]")
    steps = np.diff(days.astype(np.int64))[same]
    steps = steps[np.diff(values)[same].astype(np.int64) > 0]
    common = _most_common(differences) * (1 if values.dtype == "datetime64[ns]" else 1000)
    clocks = local - days
    day = 24 * _FIXED["h"]
    if (steps == 0).any() or (common % day and np.ptp(clocks.astype(np.int64)) > 0):
        return _fixed(common)
    return _of_days(days, steps)


def _fixed(nanoseconds: int) -> Frequency:
    unit = next(unit for unit in reversed(_FIXED) if nanoseconds % _FIXED[unit] == 0)
    return Frequency(unit, nanoseconds // _FIXED[unit])


def _of_days(days: Array, steps: Array) -> Frequency:
    """Return the frequency of dates (N,) whose distances in a series are `steps`, in days."""
    common = _most_common(steps[steps > 0])
    if common == 1:
        workdays = bool(np.is_busday(days).all()) and bool((steps >= 3).any())
        return Frequency("B" if workdays else "D")
    if common >= 28:
        anchor = _anchor(days)
        if anchor is not None or np.mean(steps == common) < 0.9:
            months = max(1, round(common / 30.436875))
            unit = next(unit for unit in ("Y", "Q", "M") if months % _MONTHS[unit] == 0)
            return Frequency(unit, months // _MONTHS[unit], anchor or "")
    return Frequency("D", common) if common % 7 else Frequency("W", common // 7)


def _anchor(days: Array) -> str | None:
    """Return the day of the month that all of `days` are on; None if they differ."""
    months = days.astype("datetime64[M]")
    number = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    most = str(int(number.max()))
    for anchor in ("1", "end", most, "business end", "business start"):
        if np.array_equal(_on_day(months, anchor, days[0]), days):
            return anchor
    return None


def _on_day(months: Array, anchor: str, example: Any) -> Array:
    """Return the day (N,) that is meant in each month; without an anchor the example's."""
    first, last = months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]") - 1
    if anchor == "end":
        return last
    if anchor == "business end":
        return np.asarray(np.busday_offset(last, 0, roll="backward"))
    if anchor == "business start":
        return np.asarray(np.busday_offset(first, 0, roll="forward"))
    start = example.astype("datetime64[M]").astype("datetime64[D]")
    day = int(anchor) - 1 if anchor else int((example - start).astype(np.int64))
    return np.asarray(np.minimum(first + day, last))


def _tick_dtype(times: Times) -> Any:
    if times.is_integer:
        return np.int64
    return np.dtype(f"timedelta64[{np.datetime_data(times.values.dtype)[0]}]")


def _most_common(values: Array) -> int:
    """Return the value that occurs most; of several the smallest."""
    unique, counts = np.unique(values, return_counts=True)
    return int(unique[counts.argmax()])


def _changed(values: Array) -> Array:
    """Return where a value (N,) is not that of the row before; the first row is."""
    return np.concatenate([[True], values[1:] != values[:-1]]) if len(values) else values == values
