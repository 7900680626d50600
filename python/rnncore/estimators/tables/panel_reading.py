"""Regular series out of a table: groups, steps, segments without gaps, and rows ahead."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnncore._checks import choice
from rnncore._types import Array
from rnncore.estimators.tables import frames, zones
from rnncore.estimators.tables.encoding import Encoding
from rnncore.estimators.tables.frequency import Frequency, infer, parse
from rnncore.estimators.tables.future import read_future
from rnncore.estimators.tables.panel import Ahead, Panel, RegularSeries
from rnncore.estimators.tables.roles import (
    Roles,
    array_columns,
    as_data,
    find_roles,
    read_groups,
    read_row_times,
    refuse_unknown_times,
)
from rnncore.estimators.tables.rows import Faults, Rows, in_timezone, note_gaps, ordered
from rnncore.estimators.tables.times import short

__all__ = [
    "Ahead",
    "Encoding",
    "Frequency",
    "Panel",
    "RegularSeries",
    "Roles",
    "infer",
    "parse",
    "read_future",
    "read_panel",
]


def read_panel(
    data: Any,
    *,
    time: Any = None,
    target: Any = None,
    group: Any = (),
    past: Any = (),
    future: Any = (),
    static: Any = (),
    freq: Any = None,
    timezone: str | None = None,
    irregular: str = "raise",
    encoding: Encoding | None = None,
) -> Panel:
    """Return the regular series of a table.

    Parameters
    ----------
    data : data frame, series, or array_like of shape (N,) or (N, D)
        One row for each group and step. Columns of an array are named by their numbers.
    time : hashable, optional
        The column of times. By default pandas' index of dates or periods, else the only column of
        dates, of text too, else the number of the row within its group. Where a frame's index is
        no count, or text is left over, rows are counted only if ``freq="rows"`` asks for it.
    target : hashable or list, optional
        What to forecast. By default the only column of numbers without another role; all of an
        array.
    group : hashable or list, optional
        Columns that say which series a row belongs to.
    past : hashable or list, optional
        Columns known up to now only.
    future : hashable or list, optional
        Columns known ahead too: holidays, prices, planned promotions.
    static : hashable or list, optional
        Columns with one value per group.
    freq : str, int or Frequency, optional
        See `parse`. By default what most steps have.
    timezone : str, optional
        The zone whose wall clock the times are, or, for times of a known zone, are seen in.
    irregular : {"raise", "repair"}
        Whether rows out of order, times that occur twice, times between steps, gaps and missing
        values are an error, or repaired: rows are sorted, rows of one time averaged (of categories
        the first stays), and series cut into segments. Nothing is made up.
    encoding : Encoding, optional
        What an earlier table's categories were. By default fitted to this table.

    Returns
    -------
    Panel

    Raises
    ------
    TypeError
        If a column does not hold what its role asks for.
    ValueError
        If names, times or values are wrong, or the table is irregular; it says where.
    """
    choice("irregular", irregular, ("raise", "repair"))
    data = as_data(data)
    roles = find_roles(
        data, time, target=target, group=group, past=past, future=future, static=static
    )
    if freq is None or parse(freq).unit != "rows":
        refuse_unknown_times(data, roles)
    rows, keys, encoding = _read_rows(data, roles, encoding)
    faults = Faults(keys, [])
    statics = _statics(data, roles, encoding, rows, faults)
    if timezone is not None:
        rows = _zoned(rows, timezone, faults)
    frequency = _frequency(rows, freq)
    rows = ordered(rows, frequency, faults)
    note_gaps(rows, frequency, faults)
    ahead = _ahead(rows, frequency, faults)
    whole = _whole(rows, ahead, roles, encoding, faults)
    if faults.found and irregular == "raise":
        raise faults.error()
    series = _series(rows, ahead, whole, keys, statics)
    return Panel(series, frequency, rows.times.kind, roles, encoding, faults.repairs())


def _read_rows(
    data: Any, roles: Roles, encoding: Encoding | None
) -> tuple[Rows, list[tuple[Any, ...]], Encoding]:
    """Return the rows as the table has them, the groups' keys, and the encoding."""
    if isinstance(data, np.ndarray):
        count = len(data)
        numbers = dict.fromkeys([*roles.past, *roles.future])
        encoding = encoding or Encoding(numbers)
        target, past, future = (
            array_columns(data, columns) for columns in (roles.target, roles.past, roles.future)
        )
    else:
        count = frames.number_of_rows(data)
        columns = [*roles.past, *roles.future, *roles.static]
        encoding = encoding or Encoding.fit(data, columns)
        targets = [frames.numbers(data, name, missing="nan") for name in roles.target]
        target = np.stack(targets, axis=1)
        past, future = encoding.encode(data, roles.past), encoding.encode(data, roles.future)
    if count == 0:
        raise ValueError("data: expected at least one row, got none")
    group, keys = read_groups(data, roles.group, count)
    rows = Rows(
        group=group,
        step=np.zeros(count, np.int64),
        row=np.arange(count),
        times=read_row_times(data, roles.time, group),
        target=target,
        past=past,
        future=future,
        past_labels=encoding.is_category(roles.past),
        future_labels=encoding.is_category(roles.future),
    )
    return rows, keys, encoding


def _zoned(rows: Rows, timezone: str, faults: Faults) -> Rows:
    zones.check_zone("timezone", timezone)
    if rows.times.is_integer:
        raise ValueError("timezone: expected None, since the times are integers")
    return in_timezone(rows, timezone, faults)


def _frequency(rows: Rows, freq: Any) -> Frequency:
    """Return the frequency that is asked for, or found."""
    if freq is None:
        return infer(rows.times, rows.group)
    frequency = parse(freq)
    integer = rows.times.is_integer
    if frequency.unit == "rows":
        several = len(np.unique(rows.times.values)) > 1
        return replace(frequency, nominal=str(infer(rows.times, rows.group)) if several else "D")
    if integer != (frequency.unit == "integer"):
        raise ValueError(
            f"freq: expected {'an integer' if integer else 'text such as 1h'}, since the times are "
            f"{'integers' if integer else 'dates'}, got {freq!r}"
        )
    return frequency.anchored(rows.times)


def _ahead(rows: Rows, frequency: Frequency, faults: Faults) -> Array:
    """Return which rows (N,) stand after their group's last target: those to predict."""
    known = ~np.isnan(rows.target).all(axis=1)
    last = np.full(len(faults.groups), -1)
    index = np.flatnonzero(known)
    np.maximum.at(last, rows.group[index], index)
    if (last < 0).any():
        where = faults.where(int(np.flatnonzero(last < 0)[0])).removeprefix(" in ")
        raise ValueError(f"{where or 'target'}: expected at least one row with a target")
    return np.asarray(np.arange(len(rows)) > last[rows.group])


def _whole(rows: Rows, ahead: Array, roles: Roles, encoding: Encoding, faults: Faults) -> Array:
    """Return which rows (N,) miss no value that they should have; note the others."""
    parts = [
        (rows.target, [str(name) for name in roles.target], ~ahead),
        (rows.past, encoding.names(roles.past), ~ahead),
        (rows.future, encoding.names(roles.future), np.ones(len(rows), np.bool_)),
    ]
    whole = np.ones(len(rows), np.bool_)
    for values, names, needed in parts:
        missing = np.isnan(values) & needed[:, None]
        whole &= ~missing.any(axis=1)
        seen = set()
        for k in np.flatnonzero(missing.any(axis=0)).tolist():
            column = names[k].partition("=")[0]
            at = int(missing[:, k].argmax())
            faults.add(
                0 if column in seen else int(missing[:, k].sum()),
                (f"missing value of column {column!r}", f"missing values of column {column!r}"),
                f"at {short(rows.times.local[at])}{faults.where(int(rows.group[at]))}, row "
                f"{int(rows.row[at])}",
                "cuts the series",
            )
            seen.add(column)
    return whole


def _statics(data: Any, roles: Roles, encoding: Encoding, rows: Rows, faults: Faults) -> Array:
    """Return the static columns (G, S), one row for each group, all checked to be constant."""
    if not roles.static:
        return np.zeros((len(faults.groups), 0))
    group = rows.group
    _, first = np.unique(group, return_index=True)
    for name in roles.static:
        codes, values = frames.labels(data, name)
        wrong = codes != codes[first][group]
        if wrong.any():
            at = int(wrong.argmax())
            start = int(first[group[at]])
            raise ValueError(
                f"static: expected one value of column {name!r}{faults.where(int(group[at]))}, "
                f"got {values[codes[start]]!r} in row {start} and {values[codes[at]]!r} "
                f"in row {at}"
            )
    return encoding.encode(data, roles.static)[first]


def _series(
    rows: Rows, ahead: Array, whole: Array, keys: Sequence[tuple[Any, ...]], statics: Array
) -> list[RegularSeries]:
    """Return the series of rows in order."""
    first = rows.first()
    consecutive = ~first & (np.diff(rows.step, prepend=0) == 1)
    inside = whole & ~ahead
    starts = np.flatnonzero(inside & ~(consecutive & np.concatenate([[False], inside[:-1]])))
    goes_on = np.concatenate([inside[1:] & consecutive[1:], [False]])
    stops = np.flatnonzero(inside & ~goes_on) + 1
    bounds = [*np.flatnonzero(first).tolist(), len(rows)]
    cuts = np.searchsorted(starts, bounds).tolist()
    reach = _reach(rows, ahead, whole, consecutive)
    observed = np.concatenate([[0], np.cumsum(~ahead)])
    result = []
    for g, (start, stop) in enumerate(itertools.pairwise(bounds)):
        end = start + int(observed[stop] - observed[start])
        here = slice(start, end)
        segments = zip(starts[cuts[g] : cuts[g + 1]], stops[cuts[g] : cuts[g + 1]], strict=True)
        result.append(
            RegularSeries(
                key=keys[int(rows.group[start])],
                step=rows.step[here],
                times=rows.times.part(here),
                target=rows.target[here],
                past=rows.past[here],
                future=rows.future[here],
                static=statics[int(rows.group[start])],
                segments=[(int(a) - start, int(b) - start) for a, b in segments],
                ahead=_ahead_rows(rows, slice(end, end + int(reach[end:stop].sum()))),
            )
        )
    return result


def _reach(rows: Rows, ahead: Array, whole: Array, consecutive: Array) -> Array:
    """Return which rows ahead (N,) follow their series without a gap or missing value between."""
    good = ahead & whole & consecutive
    broken = np.cumsum(ahead & ~good)
    last = np.maximum.accumulate(np.where(ahead, 0, np.arange(len(rows))))  # with a target
    return np.asarray(good & (broken == broken[last]))


def _ahead_rows(rows: Rows, here: slice) -> Ahead:
    return Ahead(rows.step[here], rows.times.part(here), rows.future[here])
