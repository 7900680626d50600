"""Columns of times: datetimes, dates, periods, integers and text, read and made again."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.tables import zones
from rnncore.estimators.tables.native import dtype_words, narwhals, table, wrap
from rnncore.estimators.tables.text_times import read_text, write_text
from rnncore.estimators.tables.times import TimeKind, Times, compact, from_instants, shown

_PANDAS = re.compile(r"datetime64\[(\w+)(?:, (.+))?\]")  # narwhals knows not all of its zones
_WHOLE = 2.0**53  # whole floats below it are exact


def read_times(series: Any, name: Any, where: str) -> Times:
    """Return the times of a column without missing rows; `where` names it in errors."""
    dtype, words = series.dtype, dtype_words(series)
    own_name = series.name if name is None else None
    if _PANDAS.fullmatch(words) or isinstance(dtype, narwhals().Datetime):
        instants, unit, zone = _instants(series, where)
        kind = TimeKind(name, "datetime", unit, zone, index_name=own_name)
        return from_instants(instants, kind)
    if dtype == narwhals().Date:
        kind = TimeKind(name, "date", index_name=own_name)
        days = series.cast(narwhals().Datetime("us")).to_numpy()
        return from_instants(np.array(days, "datetime64[us]"), kind)
    if words.startswith("period["):
        starts = wrap(series.to_native().dt.to_timestamp())
        kind = TimeKind(name, "period", words[len("period[") : -1], index_name=own_name)
        return from_instants(_instants(starts, where)[0], kind)
    if dtype.is_integer():
        return from_instants(np.array(series.to_numpy(), np.int64), TimeKind(name, "integer"))
    if dtype.is_float():
        return _whole(np.array(series.to_numpy(), np.float64), name, where)
    times = _objects(series.to_list(), words, name, where)
    return replace(times, kind=replace(times.kind, index_name=own_name))


def series_of_times(frame: Any, time: Times, space: Any) -> Any:
    """Return times as a column, or an index, of their own dtype, as narwhals has it."""
    kind = time.kind
    values: Any = shown(time)
    if kind.type == "text":
        values = write_text(time)
    elif kind.type == "date" and kind.unit == "object":
        values = values.astype("datetime64[D]").tolist()
    series = narwhals().new_series(_name(kind), values, backend=space)
    if kind.type == "datetime" and kind.timezone is not None and not kind.reads_local:
        series = series.dt.replace_time_zone("UTC").dt.convert_time_zone(kind.timezone)
    if space.is_pandas_like():
        return _as_pandas(series, frame, kind)
    if kind.type == "datetime":
        zone = None if kind.reads_local else kind.timezone
        return series.cast(narwhals().Datetime(kind.unit, zone))
    if kind.type == "date":
        return series.cast(narwhals().Date())
    if kind.type == "text" and space.is_pyarrow() and kind.name in table(frame).columns:
        old = table(frame).get_column(kind.name).to_native()
        return wrap(series.to_native().cast(old.type))
    return series


def index_like(series: Any) -> Any:
    """Return a column of times as pandas' index of its own kind."""
    native = series.to_native()
    return native.set_axis(native).index


def _as_pandas(series: Any, frame: Any, kind: TimeKind) -> Any:
    native = series.to_native()
    if kind.type == "period":
        return wrap(native.dt.to_period(kind.unit))
    columns = table(frame)
    if kind.name is not None and kind.name in columns.columns and kind.type != "integer":
        return wrap(native.astype(columns.get_column(kind.name).to_native().dtype))
    if kind.type == "datetime":
        return wrap(native.dt.as_unit(kind.unit))
    return series


def _name(kind: TimeKind) -> Any:
    return kind.index_name if kind.name is None else kind.name


def _instants(series: Any, where: str) -> tuple[Array, str, str | None]:
    """Return datetime64 in UTC, or a wall clock without a zone; and the column's unit and zone."""
    found = _PANDAS.fullmatch(dtype_words(series))
    if found is None:
        unit, zone = series.dtype.time_unit, series.dtype.time_zone
        if zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        values = np.array(series.to_numpy())
    else:
        native, unit, zone = series.to_native(), found[1], found[2]
        if zone is not None:
            native = native.dt.tz_convert("UTC").dt.tz_localize(None)
        values = native.to_numpy()
    if zone is not None:
        zones.check_zone(where, zone)
    return compact(values.astype(f"datetime64[{unit}]")), unit, zone


def _whole(values: Array, name: Any, where: str) -> Times:
    """Return floats that are integers; pandas makes floats of integers beside missing ones."""
    wrong = (values != np.floor(values)) | (np.abs(values) > _WHOLE)
    if wrong.any():
        row = int(wrong.argmax())
        raise TypeError(f"{where}: expected dates or integers, row {row} is {float(values[row])}")
    return from_instants(values.astype(np.int64), TimeKind(name, "integer"))


def _objects(items: list[Any], words: str, name: Any, where: str) -> Times:
    """Return the times of Python's own objects: text, dates, datetimes."""
    first = next((type(item) for item in items), str)
    expected = str if issubclass(first, str) else datetime.date
    for row, item in enumerate(items):
        if not isinstance(item, expected):
            raise TypeError(
                f"{where}: expected dates, datetimes, integers or text, got {words}, "
                f"row {row} is {item!r}"
            )
    if expected is str:
        return read_text(items, name, where)
    return _dates(items, name, where)


def _dates(items: list[Any], name: Any, where: str) -> Times:
    """Return the times of datetime.date and datetime.datetime objects."""
    if not any(isinstance(item, datetime.datetime) for item in items):
        values = np.array(items, "datetime64[us]")
        return from_instants(values, TimeKind(name, "date", "object"))
    texts = [item.isoformat() for item in items]
    read = read_text(texts, name, where)
    return from_instants(read.values, TimeKind(name, "datetime", "us", read.timezone))
