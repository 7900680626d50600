"""The only room that knows narwhals: frames and series of any library, wrapped alike."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.tables.text_times import is_date

_PLAIN = (np.ndarray, list, tuple, dict, str, bytes, int, float, type(None))  # never a frame


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame or table in memory: pandas, polars, pyarrow and others."""
    return not isinstance(value, _PLAIN) and isinstance(wrap(value), narwhals().DataFrame)


def is_series(value: Any) -> bool:
    """Whether a value is one column of such a library: a Series, a ChunkedArray."""
    return not isinstance(value, _PLAIN) and isinstance(wrap(value), narwhals().Series)


def narwhals() -> Any:
    """Return the module, imported when it is first needed."""
    import narwhals.stable.v2 as module

    return module


def wrap(value: Any) -> Any:
    """Return a frame or series as narwhals has it; anything else as it is."""
    return narwhals().from_native(value, eager_only=True, allow_series=True, pass_through=True)


def table(frame: Any) -> Any:
    """Return a frame, or a series as a frame of one column, as narwhals has it."""
    wrapped = wrap(frame)
    return wrapped.to_frame() if is_series(frame) else wrapped


def column(frame: Any, name: Any) -> Any:
    """Return a column as narwhals has it; a series is its own column, whatever the name."""
    wrapped = wrap(frame)
    return wrapped if is_series(frame) else wrapped.get_column(name)


def index_of(frame: Any) -> Any:
    """Return pandas' index of dates, as text or objects too, or periods as a series; else None."""
    index: Any = getattr(frame, "index", None)
    kind = type(index).__name__
    if kind in ("DatetimeIndex", "PeriodIndex") or (kind == "Index" and _begins_with_date(index)):
        return wrap(index.to_series())
    return None


def refuse_levels(argument: str, frame: Any) -> None:
    """Raise ValueError for a frame of pandas whose index has levels."""
    index: Any = getattr(frame, "index", None)
    if type(index).__name__ == "MultiIndex":
        raise ValueError(
            f"{argument}: expected one index, got a MultiIndex of {list(index.names)}; call "
            "reset_index() to make columns of it"
        )


def odd_index(frame: Any) -> list[Any]:
    """Return the first labels of pandas' index if they are no numbers of rows in order; else []."""
    index: Any = getattr(frame, "index", None)
    if not hasattr(index, "to_numpy") or len(index) == 0:
        return []
    values = index.to_numpy()
    if type(index).__name__ == "RangeIndex":
        counted = len(values) == 1 or values[1] > values[0]
    else:  # rows that were picked by their numbers, as by TimeSeriesSplit
        counted = values.dtype.kind in "iu" and bool((np.diff(values.astype(np.int64)) == 1).all())
    return [] if counted else index[:3].tolist()


def dtype_words(series: Any) -> str:
    """Return the dtype in the words of the caller's library."""
    native = series.to_native()
    return str(getattr(native, "dtype", None) or native.type)


def absent(series: Any) -> Array:
    """Return which rows are missing (N,): null, None, NaN, NaT."""
    gone = np.asarray(series.is_null().to_numpy(), np.bool_)
    if series.dtype.is_float():
        gone = gone | np.asarray(series.is_nan().fill_null(True).to_numpy(), np.bool_)
    return gone


def with_index(native: Any, index: Any) -> Any:
    """Return a frame or series of pandas with another index; None leaves it."""
    if index is None:
        return native
    native.index = index
    return native


def without_rows(frame: Any) -> Any:
    """Return a frame or series of the same columns and dtypes, without rows."""
    return wrap(frame).head(0).to_native()


def library_of(frame: Any) -> str:
    """Return the name of the library: "pandas", "polars", "pyarrow"."""
    return str(wrap(frame).implementation)


def new_table(library: str, columns: Mapping[Any, list[Any]]) -> Any:
    """Return a frame of a library, imported for that."""
    return narwhals().from_dict(columns, backend=library).to_native()


def as_series(frame: Any, name: Any) -> Any:
    """Return the last column of a frame as a series of a name, which may be None."""
    made = wrap(frame)
    return made.get_column(made.columns[-1]).alias(name).to_native()


def name_of(frame: Any) -> Any:
    """Return the name of a series; None for a frame."""
    return wrap(frame).name if is_series(frame) else None


def in_order(frame: Any, names: list[Any]) -> Any:
    """Return a frame with its columns in the order of `names`, which may name others too."""
    wrapped = wrap(frame)
    return wrapped.select([name for name in names if name in wrapped.columns]).to_native()


def _begins_with_date(index: Any) -> bool:
    first = next(iter(index.dropna()[:1].tolist()), None)
    return isinstance(first, datetime.date) or (isinstance(first, str) and is_date(first))
