"""What a forecaster makes of regular series: tables of numbers, cuts in time, what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rnncore.estimators.forecasting.windows import SeriesTable
from rnncore.estimators.tables.calendar import calendar_features
from rnncore.estimators.tables.frequency import Frequency
from rnncore.estimators.tables.panel import Ahead, RegularSeries

_SEASONS = {"D": 7, "B": 5, "M": 12, "Q": 4}  # steps of a week or a year
_LOOKED_BACK = {"D": 4, "B": 6, "M": 2, "Q": 2}  # seasons; seven days of shorter steps
_MOST_STEPS = 1008  # that days are looked back for, but for two of them
_NO_SEASON = 30  # steps
_ARRAYS = ("step", "target", "past", "future")  # of a series, by rows
_MINUTE = 60 * 10**9
_DAY = 24 * 60 * _MINUTE


def season_of(frequency: Frequency) -> int:
    """Return the steps of a day, for steps shorter than one, a week or a year; 0 for others."""
    length = frequency.nanoseconds
    if length is not None:
        return _DAY // length if _MINUTE <= length < _DAY and _DAY % length == 0 else 0
    return _SEASONS.get(frequency.unit, 0) if frequency.count == 1 else 0


def window_of(frequency: Frequency, horizon: int, season: int, longest: int) -> int:
    """Return how many steps a forecaster looks back by default.

    Seven days (fewer of steps under ten minutes), four weeks, two years, or 30 steps; at least
    twice the horizon, and no more than half of what the longest segment of the training part
    leaves, but for a season and a step if that leaves three windows.
    """
    looked_back = _NO_SEASON
    if season:
        days = min(7, max(2, _MOST_STEPS // season))
        looked_back = _LOOKED_BACK.get(frequency.unit, days) * season
    most = (longest - horizon) // 2
    if season < longest - horizon - 2:
        most = max(most, season + 1)
    return max(1, min(max(looked_back, 2 * horizon), most))


def table_of(series: Sequence[RegularSeries], calendar: Sequence[str]) -> SeriesTable:
    """Put series under one another, with the features of the calendar."""
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in series])]).astype(np.int64)
    segments = [
        (bound + start, bound + stop)
        for bound, each in zip(bounds.tolist(), series, strict=False)
        for start, stop in each.segments
    ]
    known = np.concatenate([each.future for each in series])
    if calendar:
        local = np.concatenate([each.local for each in series])
        known = np.concatenate([known, calendar_features(local, calendar)], axis=1)
    return SeriesTable(
        np.concatenate([each.target for each in series]),
        np.concatenate([each.past for each in series]),
        known,
        np.stack([each.static for each in series]),
        bounds,
        np.array(segments, np.int64).reshape(-1, 2),
    )


def longest_segment(series: Sequence[RegularSeries]) -> int:
    """Return the steps of the longest segment of all series."""
    return max((stop - start for each in series for start, stop in each.segments), default=0)


def cut(series: RegularSeries, stop: int) -> RegularSeries:
    """Return the first rows of a series; what is known of the others stays known ahead."""
    segments = [(a, min(b, stop)) for a, b in series.segments if a < stop]
    behind = next((b - stop for a, b in series.segments if a <= stop < b), 0)
    later = slice(stop, stop + behind)
    ahead = Ahead(series.step[later], series.times.part(later), series.future[later])
    return replace(rows(series, slice(0, stop)), segments=segments, ahead=ahead)


def tail(series: RegularSeries, count: int) -> RegularSeries:
    """Return the last rows of a series, and what is known ahead."""
    start = max(0, len(series) - count)
    segments = [(max(a, start) - start, b - start) for a, b in series.segments if b > start]
    return replace(rows(series, slice(start, None)), segments=segments)


def rows(series: RegularSeries, which: slice) -> RegularSeries:
    """Return some rows of a series, with its segments as they were."""
    return replace(
        series, step=series.step[which], times=series.times.part(which),
        target=series.target[which], past=series.past[which], future=series.future[which],
    )  # fmt: skip


def joined(
    before: RegularSeries | None, series: RegularSeries, frequency: Frequency
) -> RegularSeries:
    """Return a series with the rows that came before it, if it goes on where they end."""
    if before is None or len(before) == 0 or len(series) == 0:
        return series
    if not _goes_on(before, series, frequency):
        return series
    n = len(before)
    segments = [*before.segments, *((a + n, b + n) for a, b in series.segments)]
    for i, ((a, b), (c, d)) in enumerate(pairwise(segments)):
        if b == c == n:
            segments[i : i + 2] = [(a, d)]
            break
    pairs = ((getattr(each, name) for each in (before, series)) for name in _ARRAYS)
    step, target, past, future = (np.concatenate(list(pair)) for pair in pairs)
    values = np.concatenate([before.times.values, series.times.values])
    return replace(
        series, step=step, times=series.times.at(values), target=target, past=past, future=future,
        segments=segments,
    )  # fmt: skip


def _goes_on(before: RegularSeries, series: RegularSeries, frequency: Frequency) -> bool:
    """Whether a series begins a step after another: on its weekday too, say."""
    if before.step[-1] + 1 != series.step[0]:
        return False
    first = series.times.part(slice(0, 1))
    expected = frequency.future(before.times.part(slice(-1, None)), 1)
    if frequency.nanoseconds is not None or first.is_integer:
        return bool(expected.values[0] == first.values[0])
    if frequency.anchor:
        return bool(expected.local.astype("datetime64[D]") == first.local.astype("datetime64[D]"))
    return bool(frequency.ticks(expected)[0] == frequency.ticks(first)[0])


def followed(series: RegularSeries, past: int, horizon: int, frequency: Frequency) -> RegularSeries:
    """Return the last `past` rows of a series, and the steps to forecast behind them.

    Parameters
    ----------
    series : RegularSeries
        Its last rows are consecutive, and it knows the columns of `horizon` steps ahead, if there
        are any.
    past, horizon : int
    frequency : Frequency
    """
    last = tail(series, past)
    times = frequency.future(series.times.part(slice(-1, None)), horizon)
    if frequency.unit == "rows" and len(series.ahead.step) >= horizon:
        times = series.ahead.times.part(slice(0, horizon))  # what the caller says of them
    F = series.future.shape[1]
    future = series.ahead.future[:horizon] if F else np.zeros((horizon, 0))
    unknown = [np.full((horizon, part.shape[1]), np.nan) for part in (last.target, last.past)]
    return replace(
        last,
        step=np.concatenate([last.step, last.step[-1] + 1 + np.arange(horizon)]),
        times=last.times.at(np.concatenate([last.times.values, times.values])),
        target=np.concatenate([last.target, unknown[0]]),
        past=np.concatenate([last.past, unknown[1]]),
        future=np.concatenate([last.future, future]),
        segments=[(0, past + horizon)],
    )
