"""Sequences of data frames: rows of a group, or each row; and what belongs to each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.estimators._sequences import Sequences, read_arrays
from rnncore.estimators.tables import frames


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns of a frame are no features.

    Attributes
    ----------
    group : hashable or None
        Rows of one value here are a sequence; None: each row is one.
    order : hashable or None
        Numbers or times by which the rows of a group are sorted; None: as they come.
    target : hashable, list of them, or None
        What to predict.
    """

    group: Any = None
    order: Any = None
    target: Any = None

    @property
    def targets(self) -> list[Any]:
        """The target columns; none, one or several."""
        if self.target is None:
            return []
        return [*self.target] if isinstance(self.target, list) else [self.target]

    def check(self) -> None:
        """Raise ValueError for an order without groups."""
        if self.group is None and self.order is not None:
            raise ValueError(
                f"order: expected None without group=, got {self.order!r}; each row is a sequence"
            )


def read_x(X: Any, roles: Roles, names: Array | None = None) -> Sequences:
    """Return the sequences of whatever a user gives.

    Parameters
    ----------
    X : array, list of arrays, or data frame
    roles : Roles
    names : numpy.ndarray of object, optional
        Features that were fitted: these columns of a frame of groups are read, and no others.

    Raises
    ------
    TypeError, ValueError
        If X is none of these, a column is missing or holds no finite numbers, or there is nothing.
    """
    roles.check()
    if frames.is_frame(X):
        if roles.group is not None:
            return _read_groups(X, roles, names)
        return _read_rows(X, roles)
    if roles.group is not None:
        raise TypeError(
            f"X: expected a data frame with group={roles.group!r}, got {type(X).__name__}"
        )
    return read_arrays(X)


def check_target(X: Any, y: Any, roles: Roles) -> None:
    """Raise ValueError if a target column is to be read of a frame that has none of that name."""
    if y is None and frames.is_frame(X):
        frames.check_columns(X, roles.targets, "target")


def _read_rows(frame: Any, roles: Roles) -> Sequences:
    """Return each row as a sequence of one feature."""
    taken = roles.targets
    columns = [name for name in frames.column_names(frame) if name not in taken]
    values = [frames.numbers(frame, name) for name in columns]
    array = np.column_stack(values) if values else np.empty((len(frame), 0))
    found = read_arrays(array)
    kinds = {isinstance(name, str) for name in columns}
    if kinds == {True, False}:
        raise TypeError(
            "X: expected names of columns that are all text, or none; Feature names are only "
            f"supported if all input features have string names, got {columns}"
        )
    if kinds == {True}:
        found.names = np.array(columns, dtype=object)
    return found


def _read_groups(frame: Any, roles: Roles, names: Array | None) -> Sequences:
    """Return the rows of each group as a sequence, in order of their first appearance."""
    no_features = {roles.group, roles.order, *roles.targets}
    columns = [*names] if names is not None else frames.column_names(frame)
    if names is None:
        columns = [name for name in columns if name not in no_features]
    needed = [roles.group] if roles.order is None else [roles.group, roles.order]
    frames.check_columns(frame, needed[:1], "group")
    frames.check_columns(frame, needed[1:], "order")
    frames.check_columns(frame, columns, "X")
    if not columns:
        raise ValueError(
            f"X: expected columns besides {[*no_features - {None}]}, 0 feature(s) "
            f"(shape=({len(frame)}, 0)) while a minimum of 1 is required."
        )
    groups, keys = frames.labels(frame, roles.group)
    if not keys:
        raise ValueError("X: expected rows, got a data frame of 0 sample(s)")
    order = _order(frame, roles, groups)
    steps = np.column_stack([frames.numbers(frame, name) for name in columns])[order]
    lengths: Lengths = np.bincount(groups, minlength=len(keys)).astype(np.int64)
    listed = np.empty(len(columns), dtype=object)
    listed[:] = columns  # their own names, text or not: by these the same columns are found again
    return Sequences(steps, lengths, False, names=listed, groups=groups)


def _order(frame: Any, roles: Roles, groups: Array) -> Array:
    """Return the rows (R,), those of a group together and sorted."""
    if roles.order is None:
        return np.argsort(groups, kind="stable")
    if frames.is_number_column(frame, roles.order):
        key = frames.numbers(frame, roles.order)
    else:
        key = frames.times(frame, roles.order).values
    return np.lexsort((key, groups))


def group_keys(frame: Any, roles: Roles) -> list[Any]:
    """Return the groups of a frame, in order of first appearance."""
    return frames.labels(frame, roles.group)[1]


def read_y(X: Any, y: Any, roles: Roles, sequences: Sequences) -> Any:
    """Return what to learn of each sequence, as an array (N,) or (N, O), not yet checked.

    Parameters
    ----------
    X : array, list or data frame
    y : array_like, series, data frame or None
        None: the target columns of X. For a frame of groups: a value for each group, in order of
        first appearance; a series of pandas whose index holds the groups (a RangeIndex that has
        not the group's name counts places, and holds none); a frame with the group's column; or a
        value for each row, the same in all rows of a group.
    roles : Roles
    sequences : Sequences
        Of X.

    Raises
    ------
    ValueError, TypeError
        If there is none, or it differs inside a group.
    """
    if y is None:
        return _target_in_frame(X, roles, sequences)
    if roles.target is not None:
        raise ValueError(f"y: expected None with target={roles.target!r}, got one")
    if roles.group is not None:
        return _target_beside_groups(X, y, roles, sequences)
    return np.asarray(y) if frames.is_frame(y) or frames.is_series(y) else y


def _target_in_frame(X: Any, roles: Roles, sequences: Sequences) -> Array:
    if roles.target is None or not frames.is_frame(X):
        raise ValueError(
            "y: expected what to learn of each sequence, got None: the estimator requires y to be "
            "passed, but the target y is None; or name a column of a data frame with target="
        )
    check_target(X, None, roles)
    columns = [_values(X, name) for name in roles.targets]
    if sequences.groups is not None:
        keys = group_keys(X, roles)
        named = zip(roles.targets, columns, strict=True)
        columns = [_of_groups(f"column {name!r}", c, sequences, keys) for name, c in named]
    return columns[0] if not isinstance(roles.target, list) else np.column_stack(columns)


def _values(frame: Any, name: Any) -> Array:
    """Return a column as an array of labels or numbers, without missing ones."""
    if frames.is_number_column(frame, name):
        values = frames.numbers(frame, name)
        whole = np.asarray(frames.labels(frame, name)[1]).dtype.kind in "iu"
        return values.astype(np.int64) if whole else values
    codes, names = frames.labels(frame, name)
    return np.asarray(names)[codes]


def _of_groups(what: str, values: Array, sequences: Sequences, keys: list[Any]) -> Array:
    """Return values (R,) of rows as those of the groups (N,), in which they are the same."""
    groups = sequences.groups
    assert groups is not None
    _, first = np.unique(groups, return_index=True)
    found = values[first]
    wrong = found[groups] != values
    if wrong.any():
        row = int(wrong.argmax() if wrong.ndim == 1 else wrong.any(axis=1).argmax())
        key = keys[int(groups[row])]
        raise ValueError(
            f"{what}: expected one value in each group, row {row} of group {key!r} is "
            f"{values[row]!s} after {found[int(groups[row])]!s}"
        )
    return np.asarray(found)


def _target_beside_groups(X: Any, y: Any, roles: Roles, sequences: Sequences) -> Any:
    keys = group_keys(X, roles)
    if frames.is_frame(y) and roles.group in frames.column_names(y):
        return _by_key(y, roles, keys)
    assert sequences.groups is not None
    values = np.asarray(y)
    index = y.index if hasattr(getattr(y, "index", None), "get_indexer") else None
    named = index is not None and index.name is not None and index.name == roles.group
    if not named and values.ndim > 0 and len(values) == len(sequences.groups) != len(sequences):
        return _of_groups("y", values, sequences, keys)
    counted = type(index).__name__ == "RangeIndex"  # places, not the names of groups
    if index is None or not (named or (not counted and set(keys) <= set(index))):
        return values
    if not index.is_unique:
        double = index[index.duplicated()][0]
        raise ValueError(f"y: expected each group once in its index, {double!r} is there twice")
    rows = index.get_indexer(keys)
    if (rows < 0).any():
        missing = keys[int((rows < 0).argmax())]
        raise ValueError(f"y: expected a row for each group of X, got none for {missing!r}")
    return values[rows]


def _by_key(y: Any, roles: Roles, keys: list[Any]) -> Array:
    """Return the values that a frame beside X has for each group."""
    names = [name for name in frames.column_names(y) if name != roles.group]
    codes, known = frames.labels(y, roles.group)
    if len(known) < len(codes):
        row = int(np.flatnonzero(np.bincount(codes)[codes] > 1)[1])
        raise ValueError(f"y: expected each group once, row {row} has {known[codes[row]]!r} again")
    place = {key: row for row, key in enumerate(known)}
    missing = [key for key in keys if key not in place]
    if missing:
        raise ValueError(f"y: expected a row for each group of X, got none for {missing[0]!r}")
    rows = np.array([place[key] for key in keys])
    columns = [_values(y, name)[rows] for name in names]
    return columns[0] if len(columns) == 1 else np.column_stack(columns)
