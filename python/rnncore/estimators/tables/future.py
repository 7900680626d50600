"""Known-future columns for the steps after each series' end, out of a table of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import positive_int
from rnncore._types import Array
from rnncore.estimators.tables import frames
from rnncore.estimators.tables.panel import Ahead, Panel, RegularSeries
from rnncore.estimators.tables.roles import array_columns, as_data, read_groups, read_row_times
from rnncore.estimators.tables.times import Times, in_zone, short


def read_future(data: Any, panel: Panel, n: int) -> list[Ahead]:
    """Return the known-future columns of the n steps after each series' last row.

    Parameters
    ----------
    data : data frame, or array_like of shape (N, F)
        The group, time and future columns of the panel, in rows of any order; steps and groups
        that are not asked for may be there too. Without times the rows of a group are its next
        steps. The F columns of an array are the future ones.
    panel : Panel
        The series, as `read_panel` gave them.
    n : int
        How many steps.

    Returns
    -------
    list of Ahead
        One of n steps for each series, in the order of `panel.series`.

    Raises
    ------
    TypeError
        If a column does not hold what it held in the panel's table.
    ValueError
        If a column, a step of a group, or a value is missing, or a step is there twice.
    """
    n = positive_int("n", n)
    data, roles = as_data(data), panel.roles
    if isinstance(data, np.ndarray):
        values = _array_values(data, panel)
        group, keys = np.zeros(len(data), np.int64), [()]
    else:
        columns = [*roles.group, *([] if roles.time is None else [roles.time]), *roles.future]
        frames.check_columns(data, columns, "future")
        values = panel.encoding.encode(data, roles.future)
        group, keys = read_groups(data, roles.group, len(values))
    _refuse_missing(values, panel)
    times = _times(data, panel, group)
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(len(keys) + 1))
    rows = {key: order[bounds[code] : bounds[code + 1]] for code, key in enumerate(keys)}
    empty = np.zeros(0, np.int64)
    return [
        _ahead(series, rows.get(series.key, empty), times, values, panel, n)
        for series in panel.series
    ]


def _array_values(array: Array, panel: Panel) -> Array:
    width = len(panel.future_names)
    if array.shape[1] != width or panel.roles.group:
        wanted = "a data frame" if panel.roles.group else f"an array (N, F) = (N, {width})"
        raise ValueError(f"future: expected {wanted}, got an array {array.shape}")
    return array_columns(array, list(range(width)))


def _refuse_missing(values: Array, panel: Panel) -> None:
    missing = np.isnan(values)
    if missing.any():
        row, k = (int(i) for i in np.argwhere(missing)[0])
        column = panel.future_names[k].partition("=")[0]
        raise ValueError(
            f"future: expected a value of column {column!r} in every row, row {row} is missing"
        )


def _times(data: Any, panel: Panel, group: Array) -> Times | None:
    """Return the rows' times, of the panel's kind; None where rows just follow one another."""
    frame = not isinstance(data, np.ndarray)
    if panel.roles.time is None and not (frame and frames.has_time_index(data)):
        if panel.kind.type != "integer":
            raise ValueError("future: expected a table whose index has the times")
        return None
    times = read_row_times(data, panel.roles.time, group)
    if times.is_integer != (panel.kind.type == "integer"):
        raise TypeError(
            f"future: expected times of type {panel.kind.type}, got {times.kind.type}, as in row 0"
        )
    if panel.kind.reads_local and panel.kind.timezone is not None and times.timezone is None:
        order = np.lexsort((times.values, group))
        again = np.zeros(len(group), np.bool_)
        again[order[1:]] = (np.diff(group[order]) == 0) & (
            np.diff(times.values[order]).astype(np.int64) == 0
        )
        times = in_zone(times, panel.kind.timezone, again)
    elif (times.timezone is None) != (panel.kind.timezone is None):
        raise ValueError(
            f"future: expected times {'without a' if times.timezone else 'with a'} time zone, as "
            "in the table of the past"
        )
    return times.of_kind(panel.kind)


def _ahead(
    series: RegularSeries, rows: Array, times: Times | None, values: Array, panel: Panel, n: int
) -> Ahead:
    """Return the n steps after one series, from its `rows` of the table."""
    last, frequency = series.times.part(slice(-1, None)), panel.frequency
    wanted = series.step[-1] + np.arange(1, n + 1)
    expected = frequency.future(last, n)
    if times is None or frequency.unit == "rows":
        if times is not None:
            rows = rows[np.argsort(times.values[rows], kind="stable")]
            rows = rows[times.values[rows] > last.values[0]]
        if len(rows) < n:
            raise ValueError(
                f"future: expected {n} rows{_of(series)} after {short(last.local[0])}, "
                f"got {len(rows)}"
            )
        rows = rows[:n]
        return Ahead(wanted, expected if times is None else times.part(rows), values[rows])
    phase = frequency.ticks(last) % frequency.spacing(last)
    step, exact = frequency.steps(times.part(rows), phase)
    rows, step = rows[exact], step[exact]
    order = np.argsort(step, kind="stable")
    rows, step = rows[order], step[order]
    at = np.searchsorted(step, wanted)
    there = np.append(step, wanted[0] - 1)[np.minimum(at, len(step))] == wanted
    if not there.all():
        missing = int((~there).argmax())
        raise ValueError(
            f"future: expected a row{_of(series)} at {short(expected.local[missing])}, "
            f"step {missing + 1} of {n}, got none"
        )
    twice = np.searchsorted(step, wanted, side="right") - at > 1
    if twice.any():
        k = int(twice.argmax())
        raise ValueError(
            f"future: expected one row{_of(series)} at {short(expected.local[k])}, got rows "
            f"{int(rows[at[k]])} and {int(rows[at[k] + 1])}"
        )
    return Ahead(wanted, expected, values[rows[at]])


def _of(series: RegularSeries) -> str:
    if not series.key:
        return ""
    return f" of group {(series.key[0] if len(series.key) == 1 else series.key)!r}"
