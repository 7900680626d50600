"""Columns of Arrow tables as arrays and lists of sequences."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._memory import returned_empty
from rnncore._types import Array

NUMBERS, LISTS = "numbers", "lists"


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet; ImportError says which extra brings them."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        if error.name not in ("pyarrow", "pyarrow.parquet"):
            raise
        raise ImportError(
            "pyarrow: needed to read Parquet files and not installed: "
            "pip install 'rnncore[parquet]'"
        ) from error


@dataclass(frozen=True)
class Column:
    """A column of the files.

    Attributes
    ----------
    name : str
    argument : {"x", "y"}
        What it is part of, for errors.
    kind : {"numbers", "lists"}
    """

    name: str
    argument: str
    kind: str


@dataclass(frozen=True)
class Numbers:
    """What a row group holds of a column.

    Attributes
    ----------
    column : Column
    values : numpy.ndarray, shape (M,)
        All numbers, one list after the other.
    ends : numpy.ndarray of int64, shape (N,), or None
        How many of them there are up to the end of each list; None of a column of numbers.
    """

    column: Column
    values: Array
    ends: Array | None


def kind_of(pyarrow: Any, argument: str, name: str, types: dict[str, Any], path: str) -> str:
    """Return what a column holds; ValueError or TypeError if it is not there, or no numbers."""
    if name not in types:
        raise ValueError(f"{argument}: expected a column of {path}, {[*types]}, got {name!r}")
    found, is_list = types[name], pyarrow.types
    listed = (
        is_list.is_list(found) or is_list.is_large_list(found) or is_list.is_fixed_size_list(found)
    )
    held = found.value_type if listed else found
    if not (is_list.is_integer(held) or is_list.is_floating(held) or is_list.is_boolean(held)):
        raise TypeError(
            f"{argument}: expected numbers or lists of numbers in column {name!r} of {path}, "
            f"got {found}"
        )
    return LISTS if listed else NUMBERS


def read_column(column: Column, chunked: Any, place: str) -> Numbers:
    """Return a column's numbers; ValueError for a null, which names its row."""
    array = chunked.combine_chunks() if chunked.num_chunks != 1 else chunked.chunk(0)
    if hasattr(array, "chunks"):  # some versions return a chunked array of one
        array = array.chunk(0)
    _refuse_null(column, array, place, None)
    if column.kind == NUMBERS:
        return Numbers(column, array.to_numpy(zero_copy_only=False), None)
    values = array.flatten()
    if hasattr(array, "offsets"):
        offsets = array.offsets.to_numpy().astype(np.int64)
        ends = offsets[1:] - offsets[0]
    else:
        ends = np.arange(1, len(array) + 1) * array.type.list_size
    _refuse_null(column, values, place, ends)
    return Numbers(column, values.to_numpy(zero_copy_only=False), ends)


def _refuse_null(column: Column, array: Any, place: str, ends: Array | None) -> None:
    if array.null_count == 0:
        return
    at = int(array.is_null().to_numpy(zero_copy_only=False).argmax())
    row = at if ends is None else int(np.searchsorted(ends, at, side="right"))
    raise ValueError(
        f"{column.argument}: expected numbers in column {column.name!r}, got null in row {row} of "
        f"{place}"
    )


def inputs(columns: list[Numbers], place: str, *, bare: bool) -> Any:
    """Return sequences: (N, T, I), tokens (N, T) of a `bare` column, or a list of (T_i, ...)."""
    if columns[0].ends is None:
        return _side_by_side(columns)[:, :, None]
    if bare and columns[0].values.dtype.kind in "iu":
        return _cut(_side_by_side(columns)[:, 0], columns[0].ends)
    return _cut(_features(columns, place), columns[0].ends)


def targets(columns: list[Numbers], place: str, *, bare: bool) -> Any:
    """Return (N, O), or (N,) of a `bare` column; of lists (N, T, O), (N, T) or lists of rows."""
    numbers = _features(columns, place)
    if bare:
        numbers = numbers[:, 0]
    return numbers if columns[0].ends is None else _cut(numbers, columns[0].ends)


def _features(columns: list[Numbers], place: str) -> Array:
    """Return the numbers of lists side by side, (M, F); ValueError unless they go together."""
    first = columns[0]
    for other in columns[1:]:
        if first.ends is None or other.ends is None:
            break
        for row in np.flatnonzero(first.ends != other.ends)[:1]:
            raise ValueError(
                f"{first.column.argument}: expected lists of {_length(first.ends, row)} numbers in "
                f"column {other.column.name!r} as in {first.column.name!r}, got "
                f"{_length(other.ends, row)} in row {row} of {place}"
            )
    return _side_by_side(columns)


def _length(ends: Array, row: int) -> int:
    return int(ends[row] - (ends[row - 1] if row > 0 else 0))


def _side_by_side(columns: list[Numbers]) -> Array:
    """Return the numbers of columns (M, F) in an array of their own, out of Arrow's memory.

    What Arrow's allocator is given back it keeps, the more the more threads there were.
    """
    dtype = np.result_type(*{each.values.dtype for each in columns})
    table = returned_empty((len(columns[0].values), len(columns)), dtype)
    for i, each in enumerate(columns):
        table[:, i] = each.values
    return table


def _cut(table: Array, ends: Array) -> Any:
    """Return one array where all sequences are as long, and else a list of them: views."""
    N = len(ends)
    starts = np.concatenate([[0], ends[:-1]])
    if N > 0 and (ends - starts == ends[0]).all():
        return table.reshape(N, int(ends[0]), *table.shape[1:])
    return [table[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
