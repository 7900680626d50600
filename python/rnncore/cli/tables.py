"""Tables out of files, read alike whichever library of data frames is installed, and into files."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from rnncore._files import write_atomically
from rnncore.cli.failures import WRONG_USE, CommandError

LIBRARIES: tuple[Any, ...] = ("polars", "pandas", "pyarrow")  # the quickest to import first
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))  # beside numbers, in any case
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE
)
_BOOLEAN = {"true": True, "false": False}


def library() -> Any:
    """Return the name of the library that tables are made with; CommandError if there is none."""
    found = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    if not found or not importlib.util.find_spec("narwhals"):
        needed = "narwhals" if found else "narwhals, and one of pandas, polars and pyarrow"
        raise CommandError(
            f"tables need {needed}: pip install narwhals{'' if found else ' pandas'}"
        )
    return found[0]


def read_table(path: Path) -> Any:
    """Return a table of a CSV or Parquet file as narwhals has it.

    Cells of a CSV file are numbers where all of a column are, but for missing ones: empty, "NA",
    "n/a", "NaN", "null" or "None". Other columns are text, in which an empty cell alone is missing.
    Times stay text. The separator is a comma, a semicolon or a tab.

    Raises
    ------
    CommandError
        If a library is missing, or the file is no table.
    OSError
        If the file cannot be read.
    """
    space = library()
    import narwhals.stable.v2 as nw

    if path.suffix.lower() == ".parquet":
        try:
            return nw.read_parquet(path, backend=space)
        except OSError:
            raise
        except Exception as error:  # of whichever library it is
            raise CommandError(f"{path}: {error}") from error
    with path.open(encoding="utf-8-sig", newline="") as file:
        return table_of(_read_columns(path, file))


def table_of(columns: Mapping[str, Any]) -> Any:
    """Return columns as a table of an installed library, as narwhals has it."""
    space = library()
    import narwhals.stable.v2 as nw

    return nw.from_dict(columns, backend=space)


def time_column(table: Any, taken: Iterable[str]) -> str | None:
    """Return the only column that is not taken and holds times; None if there is no such.

    CommandError if there are several.
    """
    names = [name for name in table.columns if name not in set(taken)]
    found = [name for name in names if _holds_times(table[name])]
    if len(found) > 1:
        several = ", ".join(map(repr, found))
        raise CommandError(f"--time: expected the name of one of the columns {several}", WRONG_USE)
    return found[0] if found else None


def write_table(frame: Any, file: TextIO | Path) -> None:
    """Write a frame of any library: as CSV, or to a path that ends in ".parquet" as Parquet."""
    import narwhals.stable.v2 as nw

    table = nw.from_native(frame, eager_only=True)
    if not isinstance(file, Path):
        _write_csv(table, file)
        return
    if file.suffix.lower() == ".parquet":
        parquet = io.BytesIO()
        table.write_parquet(parquet)
        data = parquet.getvalue()
    else:
        text = io.StringIO()
        _write_csv(table, text)
        data = text.getvalue().encode()
    write_atomically(str(file), data)


def _read_columns(path: Path, file: TextIO) -> dict[str, Any]:
    """Return the columns of a CSV file by name."""
    try:
        header = file.readline()
        file.seek(0)
        separator = max(",;\t", key=header.count)
        rows = [row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path}: expected a CSV file in UTF-8: {error}") from error
    if len(rows) < 2:
        raise CommandError(
            f"{path}: expected a line of column names and rows below it, got no rows"
        )
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CommandError(f"{path}: expected different names of columns, got {twice!r} twice")
    for number, row in enumerate(rows[1:]):
        if len(row) != len(names):
            raise CommandError(
                f"{path}: expected {len(names)} cells in every row, as in the header, got "
                f"{len(row)} in row {number} (row 0 is the one below the header)"
            )
    cells = zip(*rows[1:], strict=True)
    return {
        name: _typed([cell.strip() for cell in column])
        for name, column in zip(names, cells, strict=True)
    }


def _typed(cells: list[str]) -> Any:
    """Return a column as numbers, booleans or text."""
    present = {cell for cell in cells if cell.lower() not in _MISSING}
    if all(map(_NUMBER.fullmatch, present)):
        whole = len(present) > 0 and all(map(_INTEGER.fullmatch, present))
        if whole and any(len(cell) > 18 for cell in present):  # names of things, no amounts
            return [cell or None for cell in cells]
        if whole and not any(cell.lower() in _MISSING for cell in cells):
            return np.array(cells).astype(np.int64)
        return np.array([cell if cell in present else "nan" for cell in cells]).astype(np.float64)
    if {cell.lower() for cell in cells} <= _BOOLEAN.keys():
        return np.array([_BOOLEAN[cell.lower()] for cell in cells])
    return [cell or None for cell in cells]


def _holds_times(column: Any) -> bool:
    """Whether a column is one of dates, or text that looks like dates."""
    if column.dtype.is_temporal():
        return True
    first = next((item for item in column.to_list() if item is not None), None)
    if not isinstance(first, str):
        return False
    from rnncore.estimators.tables.text_times import read_text

    try:
        read_text([first], None, "")
    except ValueError:
        return False
    return True


def _write_csv(table: Any, file: TextIO) -> None:
    for row in (table.columns, *table.iter_rows()):
        file.write(",".join(map(_cell, row)) + "\n")


def _cell(value: Any) -> str:
    """Return a cell as CSV has it: times as ISO text, numbers with all their digits."""
    if value is None or value != value:  # pandas has NaN, or NaT, where nothing is
        return ""
    text = str(value.isoformat() if hasattr(value, "isoformat") else value)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\r\n') else text
