"""Calendar features of a wall clock: hour of day, day of week, month and time of year."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncore._types import Array
from rnncore.estimators.tables.frequency import Frequency

_HOUR = 3600 * 10**9
_DAY = 24 * _HOUR
_TWO_YEARS = np.timedelta64(728, "D")  # 104 weeks: what a feature of the year must see
_STEPS = {"D": 1, "B": 3, "W": 7, "M": 31, "Q": 92}  # days that a step may have
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WAVES_OF_DAY = 4
_MOST_HOURS = 8  # beyond these, waves are fewer
_WAVES_OF_YEAR = 2


def choose(frequency: Frequency, local: Array) -> list[str]:
    """Return the features that suit a frequency and can be learned from the training part.

    Parameters
    ----------
    frequency : Frequency
        Of the series.
    local : numpy.ndarray of datetime64, shape (N,)
        The wall clock of the training part alone, all groups together. Integers have no calendar,
        and rows that are steps whatever their time are given none.

    Returns
    -------
    list of str
        Names for `calendar_features`. Steps of whole hours: "hour=0" and so on, of the hours that
        occur; shorter steps: waves over the day, "day sin 1". Steps of a day and less:
        "weekday=Mon" and so on. Months and quarters: "month=1" and so on. Up to weeks: waves over
        the year, "year sin 1". Each only where it varies and the training part covers two of its
        periods: two days, two weeks, two years.
    """
    if local.dtype.kind != "M" or len(local) == 0 or frequency.unit in ("rows", "integer", "Y"):
        return []
    length = frequency.nanoseconds
    step = np.timedelta64(length or frequency.count * _STEPS[frequency.unit] * _DAY, "ns")
    span = local.max() - local.min() + step
    within_days = length is not None and length < _DAY
    names = []
    if within_days and span >= np.timedelta64(2, "D"):
        names += _parts_of_day(local, length or 0)
    daily = within_days or frequency.unit in ("D", "B") or length is not None
    if daily and span >= np.timedelta64(14, "D"):
        names += _varying([f"weekday={_WEEKDAYS[day]}" for day in np.unique(_weekday(local))])
    if span < _TWO_YEARS:
        return names
    if frequency.unit in ("M", "Q"):
        return names + _varying([f"month={month + 1}" for month in np.unique(_month(local))])
    return names + _waves("year", _WAVES_OF_YEAR)


def calendar_features(local: Array, names: Sequence[str]) -> Array:
    """Return features of a wall clock.

    Parameters
    ----------
    local : numpy.ndarray of datetime64, shape (N,)
        The wall clock.
    names : sequence of str
        From `choose`.

    Returns
    -------
    numpy.ndarray of float64, shape (N, K)
        A column for each name: 1 where the hour, day or month is the one named and 0 elsewhere, or
        a sine or cosine over the day or the year.

    Raises
    ------
    ValueError
        If a name is none of these.
    """
    parts = {"hour": _hour, "weekday": _weekday, "month": _month}
    known = {
        **{f"hour={hour}": hour for hour in range(24)},
        **{f"weekday={day}": number for number, day in enumerate(_WEEKDAYS)},
        **{f"month={month}": month - 1 for month in range(1, 13)},
    }
    phases = {"day": _part_of_day, "year": _part_of_year}
    result = np.empty((len(local), len(names)))
    cache: dict[str, Array] = {}
    for k, name in enumerate(names):
        words = name.split(" ")
        if name in known:
            part = name.partition("=")[0]
            if part not in cache:
                cache[part] = parts[part](local)
            result[:, k] = cache[part] == known[name]
        elif len(words) == 3 and words[0] in phases and words[1] in ("sin", "cos"):
            if words[0] not in cache:
                cache[words[0]] = phases[words[0]](local)
            wave = np.sin if words[1] == "sin" else np.cos
            result[:, k] = wave(2 * np.pi * int(words[2]) * cache[words[0]])
        else:
            raise ValueError(
                "calendar: expected features such as 'hour=13', 'weekday=Mon', 'month=1', "
                f"'day sin 1' or 'year cos 2', got {name!r}"
            )
    return result


def _parts_of_day(local: Array, length: int) -> list[str]:
    if length % _HOUR or _MOST_HOURS * length < _DAY:
        return _waves("day", _WAVES_OF_DAY)
    return _varying([f"hour={hour}" for hour in np.unique(_hour(local))])


def _waves(period: str, count: int) -> list[str]:
    return [f"{period} {wave} {k}" for k in range(1, count + 1) for wave in ("sin", "cos")]


def _varying(names: list[str]) -> list[str]:
    return names if len(names) > 1 else []


def _hour(local: Array) -> Array:
    return local.astype("datetime64[h]").astype(np.int64) % 24


def _weekday(local: Array) -> Array:
    return (local.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday


def _month(local: Array) -> Array:
    return local.astype("datetime64[M]").astype(np.int64) % 12


def _part_of_day(local: Array) -> Array:
    """Return how much of its day has gone, in [0, 1)."""
    return np.asarray((local - local.astype("datetime64[D]")) / np.timedelta64(1, "D"))


def _part_of_year(local: Array) -> Array:
    """Return how much of its year has gone, in [0, 1), whether it has 365 days or 366."""
    year = local.astype("datetime64[Y]")
    start, end = year.astype(local.dtype), (year + 1).astype(local.dtype)
    return np.asarray((local - start) / (end - start))
