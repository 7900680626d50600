"""Data frames of any library, read and made through narwhals: columns, labels, times."""

from __future__ import annotations

import datetime
import decimal
import difflib
import numbers as kinds
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.tables.native import (
    absent,
    column,
    dtype_words,
    index_of,
    is_frame,
    is_series,
    narwhals,
    table,
    with_index,
    wrap,
)
from rnncore.estimators.tables.text_times import is_date
from rnncore.estimators.tables.time_columns import index_like, read_times, series_of_times
from rnncore.estimators.tables.times import Times

_UNNAMED = "value"  # the column of a series without a name
_NAME = re.compile(r"0\d|\d{19}")  # how text begins that is no amount, though it may read as one

__all__ = [
    "Times",
    "check_columns",
    "column_names",
    "has_dates_as_text",
    "has_numbers_as_text",
    "has_time_index",
    "is_category_column",
    "is_frame",
    "is_number_column",
    "is_series",
    "is_time_column",
    "is_time_index",
    "labels",
    "like",
    "number_of_rows",
    "numbers",
    "times",
]


def column_names(frame: Any) -> list[Any]:
    """Return the names of a frame's columns, in order; of a series its one name, or "value"."""
    if is_series(frame):
        return [_UNNAMED if wrap(frame).name in (None, "") else wrap(frame).name]
    return list(table(frame).columns)


def check_columns(frame: Any, names: Iterable[Any], argument: str) -> None:
    """Raise ValueError for the first of `names` that is no column, with the ones there are."""
    known = column_names(frame)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), [str(each) for each in known], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{argument}: expected names of columns, of {', '.join(map(repr, known))}, "
                f"got {name!r}{hint}"
            )


def numbers(frame: Any, name: Any, *, missing: str = "raise") -> Array:
    """Return a column of numbers or booleans.

    Parameters
    ----------
    frame : data frame or series
        Where the column is.
    name : hashable
        The column; it is there.
    missing : {"raise", "nan"}
        Whether a row without a number is an error or NaN.

    Returns
    -------
    numpy.ndarray of float64, shape (N,)

    Raises
    ------
    TypeError
        If the column holds no numbers, or numbers written as text.
    ValueError
        If a row is infinite, or missing where that is an error.
    """
    series = column(frame, name)
    if series.dtype.is_numeric() or series.dtype == narwhals().Boolean:
        values = _floats(series)
    else:
        values = _floats_of_objects(series, name)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise ValueError(
            f"column {name!r}: expected finite numbers, row {row} is {float(values[row])}"
        )
    if missing == "raise" and np.isnan(values).any():
        row = int(np.isnan(values).argmax())
        raise ValueError(f"column {name!r}: expected a number in every row, row {row} is missing")
    return values


def is_number_column(frame: Any, name: Any) -> bool:
    """Whether a column's dtype is one of numbers; booleans are categories."""
    return bool(column(frame, name).dtype.is_numeric())


def is_category_column(frame: Any, name: Any) -> bool:
    """Whether a column holds text or categories."""
    series = column(frame, name)
    words = narwhals()
    gone = absent(series)
    if gone.all():
        return False
    if series.dtype in (words.String, words.Categorical, words.Enum):
        return True
    return series.dtype == words.Object and all(
        isinstance(item, str) for item, lost in zip(series.to_list(), gone, strict=True) if not lost
    )


def number_of_rows(frame: Any) -> int:
    """Return N."""
    return int(table(frame).shape[0])


def is_time_column(frame: Any, name: Any) -> bool:
    """Whether a column's dtype is one of dates or times, or all its objects are; text is not."""
    series = column(frame, name)
    if series.dtype == narwhals().Object:
        gone = absent(series)
        items = zip(series.to_list(), gone, strict=True)
        return not gone.all() and all(lost or isinstance(x, datetime.date) for x, lost in items)
    date = series.dtype in (narwhals().Datetime, narwhals().Date)
    return date or dtype_words(series).startswith(("period[", "datetime64["))


def has_dates_as_text(frame: Any, name: Any) -> bool:
    """Whether a column of text, as read from a CSV file, begins with a date."""
    if not is_category_column(frame, name):
        return False
    series = column(frame, name)
    if series.dtype in (narwhals().Categorical, narwhals().Enum):
        return False
    return is_date(series.drop_nulls().item(0))


def has_numbers_as_text(frame: Any, name: Any) -> bool:
    """Whether most rows of a column of text are numbers; `numbers` says what is wrong with it.

    Digits after a zero, and more of them than integers have, are names: "01234". So is all that has
    a dtype of categories.
    """
    series = column(frame, name)
    if series.dtype in (narwhals().Categorical, narwhals().Enum):
        return False
    items = [item for item in series.drop_nulls().to_list() if isinstance(item, str)]
    reading = {item: _reads(item) and not _NAME.match(item) for item in set(items)}
    return 2 * sum(reading[item] for item in items) > len(items)


def labels(frame: Any, name: Any, *, missing: str = "raise") -> tuple[Array, list[Any]]:
    """Return a column of groups or categories: text, numbers, booleans, categories, dates.

    Returns
    -------
    codes : numpy.ndarray of int64, shape (N,)
        Which of `values` each row has; -1 for a missing one, with ``missing="nan"``.
    values : list
        The different values, in order of first appearance.

    Raises
    ------
    ValueError
        If a row is missing.
    TypeError
        If values cannot be compared, such as lists.
    """
    series = column(frame, name)
    gone = absent(series)
    if missing == "raise" and gone.any():
        raise ValueError(
            f"column {name!r}: expected a value in every row, row {int(gone.argmax())} is missing"
        )
    items = series.to_list()
    if gone.any():
        items = [None if lost else item for item, lost in zip(items, gone, strict=True)]
    try:
        index = {value: code for code, value in enumerate(dict.fromkeys(items))}
    except TypeError:
        row = next(i for i, item in enumerate(items) if not _hashable(item))
        raise TypeError(
            f"column {name!r}: expected text, numbers, dates or the like, got "
            f"{dtype_words(series)}, row {row} is {items[row]!r}"
        ) from None
    codes = np.fromiter(map(index.__getitem__, items), np.int64, len(items))
    if None not in index:
        return codes, list(index)
    hole = index[None]  # later codes move down by one
    moved = np.where(codes > hole, codes - 1, codes)
    return np.where(codes == hole, -1, moved), [value for value in index if value is not None]


def has_time_index(frame: Any) -> bool:
    """Whether a frame or series of pandas has dates or periods as its index."""
    return index_of(frame) is not None


def is_time_index(frame: Any, name: Any) -> bool:
    """Whether `name` is that of pandas' index of dates or periods, and of no column."""
    index = index_of(frame)
    return index is not None and index.name == name and name not in column_names(frame)


def times(frame: Any, name: Any = None) -> Times:
    """Return a column of times.

    Parameters
    ----------
    frame : data frame or series
        Where the column is.
    name : hashable, optional
        A column of datetimes, dates, periods (pandas), integers, or text such as
        "2020-03-29", "2020-03-29 01:00" and "2020-03-29T01:00:00Z". None: pandas' index.

    Raises
    ------
    TypeError
        If the column holds nothing of these.
    ValueError
        If a row is missing, or its text is no date.
    """
    series = index_of(frame) if name is None else column(frame, name)
    where = "the index" if name is None else f"column {name!r}"
    gone = absent(series)
    if gone.any():
        raise ValueError(
            f"{where}: expected a time in every row, row {int(gone.argmax())} is missing"
        )
    return read_times(series, name, where)


def like(frame: Any, columns: Mapping[Any, Any], *, time: Times | None = None) -> Any:
    """Return a new frame of the caller's own kind.

    Parameters
    ----------
    frame : data frame or series
        The caller's. For a series and one column, the result is a series.
    columns : mapping of name to array
        What the new frame holds, each (M,). A column that `frame` has too takes its dtype, unless
        it holds floats. Columns of `frame` come first, in its order.
    time : Times, optional
        The times, from `times` or `Times.at`: a column of the caller's dtype, or pandas' index.

    Returns
    -------
    data frame or series
        Of the library of `frame`.
    """
    old, space = table(frame), wrap(frame).implementation
    made = {name: _column_like(old, name, values, space) for name, values in columns.items()}
    index: Any = None
    if time is not None:
        series = series_of_times(frame, time, space)
        if time.kind.name is not None:
            made[time.kind.name] = series
        elif space.is_pandas_like():
            index = index_like(series)
    order = [name for name in old.columns if name in made]
    order += [name for name in made if name not in order]
    if is_series(frame) and len(columns) == 1 and len(made) == 1:
        return with_index(made[order[0]].alias(wrap(frame).name).to_native(), index)
    joined = narwhals().concat(
        [made[name].alias(name).to_frame() for name in order], how="horizontal"
    )
    return with_index(joined.to_native(), index)


def _floats(series: Any) -> Array:
    """Return a column of numbers or booleans as float64, NaN where it has none."""
    values = series.cast(narwhals().Float64).to_numpy()
    return np.array(values, np.float64)


def _floats_of_objects(series: Any, name: Any) -> Array:
    """Return Python's own numbers (None is missing); TypeError for a column of anything else."""
    gone, items = absent(series), series.to_list()
    if not series.dtype.is_temporal() and gone.all():
        return np.full(len(gone), np.nan)
    wrong = next(
        (row for row, item in enumerate(items) if not gone[row] and not _is_number(item)), None
    )
    if wrong is None:
        return np.array(
            [np.nan if lost else float(item) for item, lost in zip(items, gone, strict=True)]
        )
    texts = [row for row, item in enumerate(items) if not gone[row] and not _reads(item)]
    if not texts:
        raise TypeError(
            f"column {name!r}: expected numbers, got numbers written as text "
            f"({dtype_words(series)}), row {wrong} is {items[wrong]!r}"
        )
    raise TypeError(
        f"column {name!r}: expected numbers, got {dtype_words(series)}, "
        f"row {texts[0]} is {_value(items[texts[0]])}"
    )


def _is_number(item: Any) -> bool:
    return isinstance(item, (kinds.Real, decimal.Decimal, np.bool_))


def _reads(item: Any) -> bool:
    """Whether an item is a number, or text that is one."""
    if isinstance(item, str):
        try:
            float(item)
        except ValueError:
            return False
        return True
    return _is_number(item)


def _value(item: Any) -> str:
    return repr(item) if isinstance(item, str) else str(item)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _column_like(old: Any, name: Any, values: Any, space: Any) -> Any:
    """Return values as a column of a library; of the dtype that the caller's column has."""
    values = values if isinstance(values, np.ndarray) else list(values)
    floats = np.asarray(values).dtype.kind == "f"
    if floats or name not in old.columns:
        return narwhals().new_series(name, values, backend=space)
    native = old.get_column(name).to_native()
    if space.is_pandas_like():
        made = narwhals().new_series(name, list(values), backend=space).to_native()
        return wrap(made.astype(native.dtype))
    return narwhals().new_series(name, list(values), old.schema[name], backend=space)
