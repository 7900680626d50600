"""Row groups of Parquet files as blocks: what each holds is known before it is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rnncore._files import as_path
from rnncore.data import Blocks
from rnncore.parquet._columns import Column, import_pyarrow, inputs, kind_of, read_column, targets

Names: TypeAlias = "str | Sequence[str]"
PathOrPaths: TypeAlias = "str | PathLike[str] | Sequence[str | PathLike[str]]"


def blocks(path: PathOrPaths, *, x: Names, y: Names, buffer: int) -> Blocks:
    """Return the row groups of Parquet files as training data; each row is a sample.

    For ``fit(blocks(...))``, see `rnncore.data.Blocks`. Nothing but the columns named is read, one
    row group at a time.

    Parameters
    ----------
    path : path-like, or sequence of them
        A file, several, or a folder, whose files ``*.parquet`` come in the order of their names.
    x : str or sequence of str
        Columns of numbers, each a time step: sequences (N, T, 1). Or columns of lists, each a
        feature of sequences (T_i, I); the lists of a row are equally long, those of different rows
        may not be. A single name in place of a sequence, of a column of lists of integers, is a
        column of tokens (T_i,), for a model with an embedding.
    y : str or sequence of str
        Columns of numbers: targets (N, O), or labels (N,) of a single name. Columns of lists are
        targets of each step (T_i, O), or labels (T_i,).
    buffer : int
        How many samples may lie in memory, at least twice those of the largest row group
        (``row_group_size`` where the file is written).

    Returns
    -------
    rnncore.data.Blocks

    Raises
    ------
    ImportError
        If pyarrow is missing.
    FileNotFoundError, OSError
        If a file cannot be read.
    ValueError, TypeError
        If there is no file, a column is missing or holds neither numbers nor lists of them, files
        differ in it, or `buffer` is too small. While it trains `fit` raises ValueError for nulls,
        for lists of a row that are not equally long, and for a file that changed after this call.
    """
    pyarrow, parquet = import_pyarrow()
    wanted = [("x", name) for name in _names("x", x)] + [("y", name) for name in _names("y", y)]
    files = [_opened(parquet, each) for each in _paths(path)]
    columns = _columns(pyarrow, wanted, files[0])
    for file in files[1:]:
        for column, other in zip(columns, _columns(pyarrow, wanted, file), strict=True):
            if column != other:
                raise TypeError(
                    f"{column.argument}: expected {column.kind} in column {column.name!r} of "
                    f"{file.path} as in {files[0].path}, got {other.kind}"
                )
    bare = frozenset(name for name, value in (("x", x), ("y", y)) if isinstance(value, str))
    return Blocks(RowGroups(files, columns, bare), buffer=buffer)


@dataclass(frozen=True)
class File:
    """A Parquet file, and what it was like when it was opened.

    Attributes
    ----------
    path : str
    metadata : pyarrow.parquet.FileMetaData
    types : dict of str to pyarrow.DataType
        Of its columns.
    size, changed : int
        Bytes, and the time in nanoseconds when the file was last written to.
    """

    path: str
    metadata: Any
    types: dict[str, Any]
    size: int
    changed: int

    def check(self) -> None:
        """Raise ValueError if the file was written to since."""
        now = os.stat(self.path)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.changed):
            raise ValueError(
                f"{self.path}: expected the file of {self.size} bytes that was opened, got one "
                f"of {now.st_size} bytes that was written to since"
            )


class RowGroups:
    """The row groups of files: [i] reads one, as (x, y).

    Attributes
    ----------
    sizes : numpy.ndarray of int64
        Rows of each.

    Parameters
    ----------
    files : list of File
    columns : list of Column
    bare : set of {"x", "y"}
        Arguments that are a single name in place of a list of one.
    """

    def __init__(self, files: list[File], columns: list[Column], bare: frozenset[str]) -> None:
        self._files, self._columns, self._bare = files, columns, bare
        self._groups = [
            (f, group)
            for f, file in enumerate(files)
            for group in range(file.metadata.num_row_groups)
        ]
        rows = [files[f].metadata.row_group(group).num_rows for f, group in self._groups]
        self.sizes = np.array(rows, np.int64)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        if not 0 <= i < len(self):  # by which a loop over the blocks ends
            raise IndexError(f"blocks: expected an index in [0, {len(self)}), got {i}")
        f, group = self._groups[i]
        file = self._files[f]
        file.check()
        pyarrow, parquet = import_pyarrow()
        place = f"row group {group} of {file.path}"
        names = list(dict.fromkeys(column.name for column in self._columns))
        with parquet.ParquetFile(file.path, metadata=file.metadata) as opened:
            table = opened.read_row_group(group, columns=names, use_threads=False)
        read = [read_column(column, table.column(column.name), place) for column in self._columns]
        x = [each for each in read if each.column.argument == "x"]
        y = [each for each in read if each.column.argument == "y"]
        found = (
            inputs(x, place, bare="x" in self._bare), targets(y, place, bare="y" in self._bare)
        )  # fmt: skip
        del read, x, y, table
        pyarrow.default_memory_pool().release_unused()
        return found


def _names(argument: str, names: Any) -> list[str]:
    given = [names] if isinstance(names, str) else names
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
        raise TypeError(f"{argument}: expected names of columns, got {names!r}")
    if not given:
        raise ValueError(f"{argument}: expected at least one name of a column, got none")
    return list(given)


def _columns(pyarrow: Any, wanted: list[tuple[str, str]], file: File) -> list[Column]:
    columns = [
        Column(name, argument, kind_of(pyarrow, argument, name, file.types, file.path))
        for argument, name in wanted
    ]
    for argument in ("x", "y"):
        kinds = {column.kind for column in columns if column.argument == argument}
        if len(kinds) > 1:
            raise TypeError(
                f"{argument}: expected columns of numbers or columns of lists, got both in "
                f"{file.path}"
            )
    return columns


def _paths(path: Any) -> list[str]:
    if isinstance(path, (list, tuple)):
        paths = [as_path(f"path[{i}]", each) for i, each in enumerate(path)]
    else:
        paths = [as_path("path", path)]
        if os.path.isdir(paths[0]):
            paths = [str(each) for each in sorted(Path(paths[0]).glob("*.parquet"))]
    if not paths:
        raise ValueError(f"path: expected at least one file *.parquet, got none in {path!r}")
    return [os.path.abspath(each) for each in paths]


def _opened(parquet: Any, path: str) -> File:
    now = os.stat(path)
    try:
        metadata = parquet.read_metadata(path)
    except ValueError as error:  # of Arrow, whose text may not name the file
        raise ValueError(f"path: expected Parquet files, got {path}: {error}") from error
    schema = metadata.schema.to_arrow_schema()
    types = {field.name: field.type for field in schema}
    return File(path, metadata, types, now.st_size, now.st_mtime_ns)
