"""Roles: which column of a table is its time, target, group, past, future or static one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_numpy
from rnncore._parts import storable
from rnncore._types import Array
from rnncore.estimators.tables import frames, native
from rnncore.estimators.tables.times import TimeKind, Times

_MANY = ("target", "group", "past", "future", "static")


@storable
@dataclass(frozen=True)
class Roles:
    """The columns of a table by what they are for; numbers of columns where it is an array.

    Attributes
    ----------
    time : hashable or None
        None: pandas' index, or the number of the row.
    target, group, past, future, static : list
        Names of columns, maybe none.
    """

    time: Any
    target: list[Any]
    group: list[Any]
    past: list[Any]
    future: list[Any]
    static: list[Any]

    @property
    def features(self) -> list[Any]:
        """All columns but time and group."""
        return [*self.target, *self.past, *self.future, *self.static]

    def state_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_state_dict`."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Roles:
        """Return what `state_dict` was called on."""
        return cls(**state)


def find_roles(data: Any, time: Any, **given: Any) -> Roles:
    """Return the roles that the arguments of `read_panel` give, and what follows from the table.

    ValueError for names that are no columns, for columns with two roles, and without a target.
    """
    names = _names(data)
    named = {role: _as_list(value, role, names) for role, value in given.items()}
    if time is not None and not isinstance(data, np.ndarray) and frames.is_time_index(data, time):
        time = None
    if time is not None:
        _check(data, [time], "time", names)
    taken: dict[Any, str] = {} if time is None else {time: "time"}
    for role in _MANY:
        _check(data, named[role], role, names)
        for name in named[role]:
            if name in taken:
                raise ValueError(
                    f"{role}: expected columns without another role, got {name!r}, which is in "
                    f"{taken[name]}"
                )
            taken[name] = role
    if time is None and not isinstance(data, np.ndarray):
        time = _time_column(data, [name for name in names if name not in taken])
    if given["target"] is None:
        named["target"] = _only_target(data, [n for n in names if n not in taken and n != time])
    return Roles(time=time, **named)


def as_data(data: Any) -> Any:
    """Return a frame or series as it is, and anything else as an array (N, D) of numbers."""
    if frames.is_frame(data) or frames.is_series(data):
        native.refuse_levels("data", data)
        return data
    if hasattr(data, "collect"):
        raise TypeError(
            f"data: expected a data frame in memory, got {type(data).__name__}; call .collect()"
        )
    array = as_numpy("data", data)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
        raise TypeError(
            "data: expected a data frame, a series, or an array (N,) or (N, D) of numbers, got "
            f"{type(data).__name__}"
            + (f" of dtype {array.dtype} and shape {array.shape}" if array.ndim else "")
        )
    return array.astype(np.float64)[:, None] if array.ndim == 1 else array.astype(np.float64)


def refuse_unknown_times(data: Any, roles: Roles) -> None:
    """Raise ValueError for a frame whose rows would be counted although it may well have times.

    Its index is neither of times nor numbers of rows, or a column of text has no role.
    """
    if isinstance(data, np.ndarray) or roles.time is not None or frames.has_time_index(data):
        return
    found = "time: found no column of times"
    labels = native.odd_index(data)
    if labels:
        raise ValueError(
            f"{found}; the index holds {', '.join(map(repr, labels))}, ...; call reset_index() and "
            "pass time=, or freq='rows'"
        )
    for name in _names(data):
        if name not in {*roles.group, *roles.features} and frames.is_category_column(data, name):
            _, values = frames.labels(data, name, missing="nan")
            raise ValueError(
                f"{found}; column {name!r} holds {values[0]!r}; pass time=, or freq='rows'"
            )


def array_columns(array: Array, columns: list[Any]) -> Array:
    """Return columns (N, K) of an array; infinite numbers are refused."""
    values = array[:, columns]
    if np.isinf(values).any():
        row, column = (int(i) for i in np.argwhere(np.isinf(values))[0])
        raise ValueError(
            f"column {columns[column]}: expected finite numbers, row {row} is "
            f"{float(values[row, column])}"
        )
    return values


def read_groups(data: Any, columns: list[Any], count: int) -> tuple[Array, list[tuple[Any, ...]]]:
    """Return the code of each row's group (N,), and the groups in order of first appearance."""
    group, keys = np.zeros(count, np.int64), [()]
    for name in columns:
        codes, values = frames.labels(data, name)
        pairs = group * len(values) + codes
        unique, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        order = np.argsort(first)  # the groups as they appear
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        group = rank[inverse]
        found = unique[order]
        keys = [(*keys[pair // len(values)], values[pair % len(values)]) for pair in found.tolist()]
    return group, keys


def read_row_times(data: Any, name: Any, group: Array) -> Times:
    """Return the rows' times; their numbers within each group where the table has none."""
    if not isinstance(data, np.ndarray) and (name is not None or frames.has_time_index(data)):
        return frames.times(data, name)
    order = np.argsort(group, kind="stable")
    count = np.arange(len(group))
    first = np.diff(group[order], prepend=-1) != 0
    number = np.empty_like(count)
    number[order] = count - count[first][np.cumsum(first) - 1]
    return Times(number, number, TimeKind())


def _names(data: Any) -> list[Any]:
    if isinstance(data, np.ndarray):
        return list(range(data.shape[1]))
    return frames.column_names(data)


def _as_list(value: Any, role: str, names: list[Any]) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (list, np.ndarray)) or (isinstance(value, tuple) and value not in names):
        result = list(value)
    else:
        result = [value]
    for name in result:
        if isinstance(name, (list, dict, set, np.ndarray)):
            raise TypeError(f"{role}: expected names of columns, got {name!r}")
    if len(set(result)) < len(result):
        twice = next(name for name in result if result.count(name) > 1)
        raise ValueError(f"{role}: expected each column once, got {twice!r} twice")
    return result


def _check(data: Any, columns: list[Any], role: str, names: list[Any]) -> None:
    if not isinstance(data, np.ndarray):
        frames.check_columns(data, columns, role)
        return
    if role in ("time", "group", "static") and columns:
        raise ValueError(f"{role}: expected None for an array, which names no columns")
    for name in columns:
        if name not in names:
            raise ValueError(
                f"{role}: expected numbers of columns in [0, {len(names) - 1}], got {name!r}"
            )


def _time_column(data: Any, free: list[Any]) -> Any:
    """Return the only column of dates that has no role, if none is one, of dates as text.

    None if pandas' index has the times.
    """
    if frames.has_time_index(data) or frames.is_series(data):
        return None
    dates = [name for name in free if frames.is_time_column(data, name)]
    dates = dates or [name for name in free if frames.has_dates_as_text(data, name)]
    if len(dates) > 1:
        raise ValueError(f"time: expected the name of one of {', '.join(map(repr, dates))}")
    return dates[0] if dates else None


def _only_target(data: Any, free: list[Any]) -> list[Any]:
    """Return all free columns of an array, and the only one with numbers of a frame."""
    if isinstance(data, np.ndarray):
        if not free:
            raise ValueError("target: expected a column, but all have another role")
        return free
    if frames.is_series(data):
        return free
    choices = [name for name in free if frames.is_number_column(data, name)]
    if len(choices) != 1:
        raise ValueError(
            "target: expected which column to forecast"
            + (f", one of {', '.join(map(repr, choices))}" if choices else "; none has numbers")
        )
    return choices
