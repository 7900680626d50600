"""Tables of CSV and Parquet files: the same columns by whichever library, and clear errors."""

from __future__ import annotations

import datetime
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rnncore.cli import tables
from rnncore.cli.failures import WRONG_USE, CommandError

nw = pytest.importorskip("narwhals.stable.v2", reason="tables are read through narwhals")

pytestmark = pytest.mark.once

CSV = '''ds, n,share,label,code,open,id,gone
2024-01-01,1,0.5,a,007,true,12345678901234567890,
2024-01-02,-2,NA,"b, ""c""",010,FALSE,12345678901234567891,
2024-01-03,3,1e3,,011,True,12345678901234567892,n/a
'''


@pytest.fixture(params=tables.LIBRARIES)
def library(request: Any, monkeypatch: Any) -> str:
    pytest.importorskip(request.param)
    monkeypatch.setattr(tables, "LIBRARIES", (request.param,))
    return str(request.param)


def read(folder: Path, text: str, encoding: str = "utf-8") -> Any:
    path = folder / "data.csv"
    path.write_bytes(text.encode(encoding))
    return tables.read_table(path)


def rows(table: Any) -> list[tuple[Any, ...]]:
    """The rows, None for whatever a library has in place of a missing number."""
    return [tuple(None if c != c else c for c in row) for row in table.iter_rows()]


def test_columns_are_numbers_booleans_or_text_in_every_library(
    library: str, tmp_path: Path
) -> None:
    table = read(tmp_path, CSV)
    assert str(table.implementation) == library
    assert table.columns == ["ds", "n", "share", "label", "code", "open", "id", "gone"]
    big = "1234567890123456789"
    assert rows(table) == [
        ("2024-01-01", 1, 0.5, "a", "007", True, f"{big}0", None),
        ("2024-01-02", -2, None, 'b, "c"', "010", False, f"{big}1", None),
        ("2024-01-03", 3, 1000.0, None, "011", True, f"{big}2", None),
    ]
    kinds = [table[name].dtype for name in ("n", "share", "open", "gone")]
    assert kinds == [nw.Int64, nw.Float64, nw.Boolean, nw.Float64]


@pytest.mark.parametrize(
    "text",
    ["ds;y\n2024-01-01;1.5\n", "ds\ty\r\n2024-01-01\t1.5\r\n", '"ds","y"\n\n"2024-01-01", 1.5 '],
)
def test_other_separators_and_ends_of_lines(text: str, tmp_path: Path) -> None:
    table = read(tmp_path, text, "utf-8-sig")  # with the mark that some programs write in front
    assert table.columns == ["ds", "y"]
    assert rows(table) == [("2024-01-01", 1.5)]


def test_a_label_that_looks_like_a_missing_number_stays(tmp_path: Path) -> None:
    """NA is Namibia too: only beside numbers it is none."""
    assert rows(read(tmp_path, "land,y\nNA,1\nDE,NA\n")) == [("NA", 1.0), ("DE", None)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a line of column names and rows below it, got no rows"),
        ("ds,y\n", "got no rows"),
        ("y,y\n1,2\n", "expected different names of columns, got 'y' twice"),
        ("ds,y\na,1\nb,1,2\n", "expected 2 cells in every row, as in the header, got 3 in row 1"),
        ("ds,y\na\n", "got 1 in row 0 (row 0 is the one below the header)"),
    ],
)
def test_what_is_no_table_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'data.csv'}: ")
    assert said in str(caught.value)


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"data\.csv: expected a CSV file in UTF-8: "):
        read(tmp_path, "ä,y\n1,2\n", "latin-1")
    with pytest.raises(FileNotFoundError):
        tables.read_table(tmp_path / "none.csv")


def test_parquet_there_and_back(library: str, tmp_path: Path) -> None:
    if library == "pandas":
        pytest.importorskip("pyarrow", reason="pandas reads Parquet by it")
    path = tmp_path / "data.parquet"
    days = np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "datetime64[us]")
    columns = {"ds": days, "y": np.array([1.5, 2.5, np.nan])}
    tables.write_table(tables.table_of(columns).to_native(), path)
    table = tables.read_table(path)
    assert table["ds"].dtype.is_temporal()
    np.testing.assert_array_equal(table["y"].to_numpy(), columns["y"])
    path.write_bytes(b"no table")
    with pytest.raises(CommandError) as caught:
        tables.read_table(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_table_is_written_so_that_it_is_read_again(library: str) -> None:
    table = tables.table_of({
        "ds": ["2024-01-01", "2024-01-02"], "name": ['a "b", c', None],
        "y": np.array([0.1 + 0.2, -1e-30]), "n": np.array([1, 2]),
    })  # fmt: skip
    file = io.StringIO()
    tables.write_table(table.to_native(), file)
    assert file.getvalue() == (
        'ds,name,y,n\n2024-01-01,"a ""b"", c",0.30000000000000004,1\n2024-01-02,,-1e-30,2\n'
    )


def test_dates_are_written_as_iso(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    moments = [datetime.datetime(2024, 1, 1, hour) for hour in (0, 1)]
    path = tmp_path / "out.csv"
    tables.write_table(nw.from_dict({"ds": moments}, backend="polars").to_native(), path)
    assert path.read_text() == "ds\n2024-01-01T00:00:00\n2024-01-01T01:00:00\n"


def test_the_column_of_times_is_found(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b,y,c\nx,2024-01-01 00:00,1,2024-01-01\n")
    assert tables.time_column(table, ["c"]) == "b"
    assert tables.time_column(table, ["b", "c"]) is None
    with pytest.raises(CommandError) as caught:
        tables.time_column(table, [])
    assert str(caught.value) == "--time: expected the name of one of the columns 'b', 'c'"
    assert caught.value.code == WRONG_USE


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ((), "tables need narwhals, and one of pandas, polars and pyarrow: pip install narwhals"),
        (("narwhals",), "pip install narwhals pandas"),
        (("pandas",), "tables need narwhals: pip install narwhals"),
    ],
)
def test_what_to_install_is_said(there: Any, said: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in there or None)
    with pytest.raises(CommandError) as caught:
        tables.read_table(tmp_path / "none.csv")
    assert said in str(caught.value)
