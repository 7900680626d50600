"""Frames: the same values from every library, times that come back alike, errors with the row."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import child
import numpy as np
import pytest
from errors import raises
from rnncore.estimators.tables import frames, zones
from rnncore.estimators.tables.times import short

pandas = pytest.importorskip("pandas", reason="data frames: pandas is not installed")
polars = pytest.importorskip("polars", reason="data frames: polars is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="data frames: pyarrow is not installed")
pytest.importorskip("narwhals", reason="data frames: narwhals is not installed")

pytestmark = pytest.mark.once

LIBRARIES = ("pandas", "pandas nullable", "pandas pyarrow", "polars", "pyarrow")
UTC = datetime.timezone.utc


def frame(library: str, **columns: Any) -> Any:
    if library == "polars":
        return polars.DataFrame(columns, strict=False)
    if library == "pyarrow":
        return pyarrow.table(columns)
    made = pandas.DataFrame(columns)
    if library == "pandas nullable":
        return made.convert_dtypes()
    if library == "pandas pyarrow":
        return made.convert_dtypes(dtype_backend="pyarrow")
    return made


def column(data: Any, name: str) -> list[Any]:
    found = data[name]
    return found.to_pylist() if hasattr(found, "to_pylist") else found.to_list()


def dtype(data: Any, name: str) -> str:
    found = data[name]
    return str(found.type if hasattr(found, "type") else found.dtype)


# --- numbers and labels -------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_are_float64_whatever_holds_them(library: str) -> None:
    data = frame(
        library,
        i=[1, 2, 3],
        f=[1.5, None, -2.0],
        b=[True, False, True],
        n=[1, None, 3],
        d=[decimal.Decimal("1.25"), decimal.Decimal(2), decimal.Decimal(0)],
    )
    for name, wanted in {
        "i": [1, 2, 3],
        "f": [1.5, np.nan, -2],
        "b": [1, 0, 1],
        "n": [1, np.nan, 3],
        "d": [1.25, 2, 0],
    }.items():
        found = frames.numbers(data, name, missing="nan")
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, wanted)
    with raises(ValueError, "column 'n': expected a number in every row, row 1 is missing"):
        frames.numbers(data, "n")


@pytest.mark.parametrize(
    ("library", "words"),
    [("pandas", "str"), ("pandas nullable", "string"), ("polars", "String"), ("pyarrow", "string")],
)
def test_text_is_no_number(library: str, words: str) -> None:
    data = frame(library, price=["1.5", "2", "n/a"], text=["1.5", None, "2"])
    with raises(TypeError, f"column 'price': expected numbers, got {words}, row 2 is 'n/a'"):
        frames.numbers(data, "price")
    with raises(
        TypeError,
        f"column 'text': expected numbers, got numbers written as text ({words}), row 0 is '1.5'",
    ):
        frames.numbers(data, "text", missing="nan")


def test_objects_that_are_numbers_are_numbers() -> None:
    data = pandas.DataFrame(
        {"a": pandas.Series([True, None, 2, decimal.Decimal("0.5")], dtype=object)}
    )
    np.testing.assert_array_equal(frames.numbers(data, "a", missing="nan"), [1, np.nan, 2, 0.5])
    data = pandas.DataFrame({"a": pandas.Series([1, "n/a", 2], dtype=object)})
    with raises(TypeError, "column 'a': expected numbers, got object, row 1 is 'n/a'"):
        frames.numbers(data, "a")
    dates = pandas.DataFrame({"a": pandas.to_datetime(["2020-01-01"])})
    with raises(
        TypeError, "column 'a': expected numbers, got datetime64[us], row 0 is 2020-01-01 00:00:00"
    ):
        frames.numbers(dates, "a")


@pytest.mark.parametrize("missing", ["raise", "nan"])
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_infinity_is_never_a_number(library: str, missing: str) -> None:
    data = frame(library, a=[1.0, 2.0, -np.inf])
    with raises(ValueError, "column 'a': expected finite numbers, row 2 is -inf"):
        frames.numbers(data, "a", missing=missing)


@pytest.mark.parametrize("library", LIBRARIES)
def test_labels_are_in_order_of_appearance(library: str) -> None:
    day = datetime.date(2020, 1, 1)
    data = frame(library, s=["b", "a", "b"], i=[7, 7, 3], o=["x", None, "x"], d=[day, day, None])
    codes, values = frames.labels(data, "s")
    assert (codes.tolist(), values, codes.dtype) == ([0, 1, 0], ["b", "a"], np.int64)
    codes, values = frames.labels(data, "i")
    assert (codes.tolist(), values) == ([0, 0, 1], [7, 3])
    for name, wanted in {"o": [0, -1, 0], "d": [0, 0, -1]}.items():
        assert frames.labels(data, name, missing="nan")[0].tolist() == wanted
    with raises(ValueError, "column 'o': expected a value in every row, row 1 is missing"):
        frames.labels(data, "o")


def test_categories_and_lists_as_labels() -> None:
    data = pandas.DataFrame({"c": pandas.Categorical(["b", "a", "b"], ["z", "a", "b"])})
    assert frames.labels(data, "c")[1] == ["b", "a"]
    data = polars.DataFrame({"c": polars.Series(["b", "a"], dtype=polars.Categorical)})
    assert frames.labels(data, "c")[1] == ["b", "a"]
    data = pandas.DataFrame({"c": [[1], [2]]})
    with raises(
        TypeError,
        "column 'c': expected text, numbers, dates or the like, got object, row 0 is [1]",
    ):
        frames.labels(data, "c")


# --- what is a frame ----------------------------------------------------------------------------


def test_floats_stay_floats_beside_a_column_of_integers() -> None:
    made = frames.like(pandas.DataFrame({"y": [1, 2]}), {"y": [1.5, 2.0]})
    assert made["y"].tolist() == [1.5, 2.0]


def test_what_is_a_frame_and_what_a_series() -> None:
    data = pandas.DataFrame({"a": [1]})
    for value in (data, polars.DataFrame({"a": [1]}), pyarrow.table({"a": [1]})):
        assert frames.is_frame(value)
        assert not frames.is_series(value)
    for value in (data["a"], polars.Series([1]), pyarrow.chunked_array([[1]])):
        assert frames.is_series(value)
        assert not frames.is_frame(value)
    for value in (
        [1],
        np.zeros(3),
        {"a": np.zeros(3)},
        None,
        3,
        "text",
        1j,
    ):
        assert not frames.is_frame(value)
        assert not frames.is_series(value)
    assert not frames.is_frame(polars.DataFrame({"a": [1]}).lazy())


def test_a_column_that_is_none_is_named_with_a_near_miss() -> None:
    data = pandas.DataFrame({"price": [1], "date": [2], 5: [3]})
    frames.check_columns(data, ["price", 5], "past")
    known = "past: expected names of columns, of 'price', 'date', 5, got "
    with raises(ValueError, known + "'prize'; did you mean 'price'?"):
        frames.check_columns(data, ["date", "prize"], "past")
    with raises(ValueError, known + "'zzz'"):
        frames.check_columns(data, ["zzz"], "past")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "numpy"])
def test_only_the_callers_library_is_imported(library: str) -> None:
    make = {
        "pandas": "import pandas as p; d = p.DataFrame({'t': t, 'y': y})",
        "polars": "import polars as p; d = p.DataFrame({'t': t, 'y': y})",
        "pyarrow": "import pyarrow as p; d = p.table({'t': t, 'y': y})",
        "numpy": "d = np.array(y)",
    }[library]
    code = f"""
import sys, numpy as np
t, y = ["2020-01-01", "2020-01-02", "2020-01-03"], [1.0, 2.0, 3.0]
{make}
before = set(sys.modules)
from rnncore.estimators.tables import frames
from rnncore.estimators.tables.panel_reading import read_panel
if {library!r} == "numpy":
    panel = read_panel(d)
    assert "narwhals" not in sys.modules
else:
    panel = read_panel(d, time="t", target="y")
    frames.like(d, {{"y": y}}, time=panel.series[0].times)
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(*sorted(new & {{"pandas", "polars", "pyarrow", "sklearn", "matplotlib"}}))
"""
    assert child.run(code).split() == []


# --- times --------------------------------------------------------------------------------------

MOMENTS = [datetime.datetime(2020, 3, 28, 23), datetime.datetime(2020, 3, 29, 5)]
WITH_ZONE = [moment.replace(tzinfo=UTC) for moment in MOMENTS]


def stamps(kind: str) -> Any:
    """Two times in a pandas series of a dtype: the last may be any library's by its conversion."""
    plain = pandas.Series(pandas.to_datetime(MOMENTS))
    if kind in ("s", "ms", "us", "ns"):
        return plain.dt.as_unit(kind)
    if kind == "zone":
        return plain.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    if kind == "offset":
        return plain.dt.tz_localize("UTC").dt.tz_convert("+05:30")
    if kind == "arrow zone":
        return stamps("zone").astype("timestamp[ns, tz=Europe/Berlin][pyarrow]")
    if kind == "arrow date":
        return stamps("date").astype("date32[day][pyarrow]")
    if kind == "date":
        return pandas.Series([moment.date() for moment in MOMENTS])
    return pandas.Series([f"{moment:{kind}}" for moment in MOMENTS])


KINDS = [
    "s", "ms", "us", "ns", "zone", "offset", "arrow zone", "arrow date", "date", "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%M:%S.250",
    "%Y-%m-%dT%H:%M+05:30", "%Y-%m-%dT%H:%M+0530",
]  # fmt: skip


def wanted(kind: str) -> tuple[list[str], list[str]]:
    """The instants and the wall clock of `stamps`."""
    utc, local = ["2020-03-28T23:00", "2020-03-29T05:00"], ["2020-03-28T23:00", "2020-03-29T05:00"]
    if kind in ("date", "arrow date", "%Y-%m-%d"):
        utc = local = ["2020-03-28", "2020-03-29"]
    elif "zone" in kind:
        local = ["2020-03-29T00:00", "2020-03-29T07:00"]  # clocks went from +01:00 to +02:00
    elif kind == "offset":
        local = ["2020-03-29T04:30", "2020-03-29T10:30"]
    elif "30" in kind:
        utc = ["2020-03-28T17:30", "2020-03-28T23:30"]
    elif ".250" in kind:
        utc = local = ["2020-03-28T23:00:00.25", "2020-03-29T05:00:00.25"]
    return utc, local


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_times_are_read_and_come_back_alike(kind: str, library: str) -> None:
    data = pandas.DataFrame({"t": stamps(kind), "y": [1.0, 2.0]})
    if library == "polars" and kind == "offset":
        data = polars.DataFrame({"t": WITH_ZONE, "y": [1.0, 2.0]})  # it knows no offsets
        kind = "utc"
    elif library == "polars":
        data = polars.from_pandas(data)
    elif library == "pyarrow":
        data = pyarrow.Table.from_pandas(data, preserve_index=False)
    found = frames.times(data, "t")
    for values, moments in zip((found.values, found.local), wanted(kind), strict=True):
        np.testing.assert_array_equal(values, np.array(moments, "datetime64[us]"))
    made = frames.like(data, {"y": np.array([3.0, 4.0])}, time=found)
    assert type(made) is type(data)
    assert dtype(made, "t") == dtype(data, "t")
    assert column(made, "t") == column(data, "t")
    assert column(made, "y") == [3, 4]
    assert list(made.columns) == list(data.columns) or library == "pyarrow"


@pytest.mark.parametrize("kind", ["s", "ns", "zone", "offset", "M", "D"])
def test_times_in_the_index_of_pandas_stay_there(kind: str) -> None:
    values = stamps("us").dt.to_period(kind) if kind in ("M", "D") else stamps(kind)
    data = pandas.DataFrame({"y": [1.0, 2.0]}, index=pandas.Index(values, name="when"))
    assert frames.has_time_index(data)
    found = frames.times(data)
    made = frames.like(data, {"z": np.array([3.0, 4.0])}, time=found.at(found.values))
    pandas.testing.assert_index_equal(made.index, data.index)
    assert made["z"].tolist() == [3, 4]
    series = frames.like(data["y"], {"y": np.array([3.0, 4.0])}, time=found)
    assert isinstance(series, pandas.Series)
    assert series.name == "y"
    pandas.testing.assert_index_equal(series.index, data.index)


@pytest.mark.parametrize("library", LIBRARIES)
def test_integers_are_times_too(library: str) -> None:
    data = frame(library, t=[3, 1, 2], y=[1.0, 2.0, 3.0])
    found = frames.times(data, "t")
    assert found.is_integer
    assert found.values.tolist() == found.local.tolist() == [3, 1, 2]
    made = frames.like(data, {"y": np.zeros(2)}, time=found.at(np.array([4, 5])))
    assert column(made, "t") == [4, 5]


def test_nanoseconds_stay() -> None:
    values = pandas.Series(pandas.to_datetime([1, 2_001], unit="ns"))
    found = frames.times(pandas.DataFrame({"t": values}), "t")
    assert found.values.astype(np.int64).tolist() == [1, 2_001]


def test_datetimes_of_python_keep_their_zone() -> None:
    data = pandas.DataFrame({"t": pandas.Series(WITH_ZONE, dtype=object)})
    found = frames.times(data, "t")
    assert found.timezone == "UTC"
    np.testing.assert_array_equal(found.values, np.array(MOMENTS, "datetime64[us]"))


def test_columns_take_the_dtype_that_they_had() -> None:
    data = pandas.DataFrame({"g": pandas.Categorical(["a", "b"]), "y": [1, 2], "n": [1, 2]})
    made = frames.like(
        data, {"y": np.zeros(3), "low": np.ones(3), "g": ["b", "a", "b"], "n": [1, 1, 1]}
    )
    assert list(made.columns) == ["g", "y", "n", "low"]
    assert made.dtypes.astype(str).tolist() == ["category", "float64", "int64", "float64"]
    table = pyarrow.table(
        {"g": pyarrow.array(["a"], pyarrow.large_string()), "n": pyarrow.array([1], pyarrow.int8())}
    )
    made = frames.like(table, {"n": [3, 4], "g": ["b", "a"]})
    assert made.to_pydict() == {"g": ["b", "a"], "n": [3, 4]}


@pytest.mark.parametrize(
    ("items", "error", "text"),
    [
        (["2020-01-01", "03/04/2020"], ValueError, "row 1 is '03/04/2020'"),
        (["2020-01-01", "2020-02-30"], ValueError, "row 1 is '2020-02-30'"),
        (["20200101"], ValueError, "row 0 is '20200101'"),
        (["now"], ValueError, "row 0 is 'now'"),
        (["2020-01-01", ""], ValueError, "row 1 is ''"),
        (["2020-01-01T24:00"], ValueError, "row 0 is '2020-01-01T24:00'"),
    ],
)
def test_text_that_is_no_date_is_named(items: list[str], error: Any, text: str) -> None:
    expected = "expected dates with the year first, such as 2020-03-29 or 2020-03-29T01:00, "
    for data in (pandas.DataFrame({"ds": items}), polars.DataFrame({"ds": items})):
        with raises(error, f"column 'ds': {expected}{text}"):
            frames.times(data, "ds")


def test_times_that_are_missing_or_none_are_named() -> None:
    data = pandas.DataFrame({"t": [pandas.Timestamp("2020"), pandas.NaT], "f": [1.0, 1.5]})
    with raises(ValueError, "column 't': expected a time in every row, row 1 is missing"):
        frames.times(data, "t")
    with raises(TypeError, "column 'f': expected dates or integers, row 1 is 1.5"):
        frames.times(data, "f")
    data = pandas.DataFrame({"o": [3.5j, 2]})
    with raises(TypeError, "...row 0 is 3.5j"):
        frames.times(data, "o")
    data = polars.DataFrame({"t": ["2020-01-01T00:00Z", "2020-01-01T00:00"]})
    with raises(
        ValueError,
        "column 't': expected a zone in every row or in none, row 1 is '2020-01-01T00:00'",
    ):
        frames.times(data, "t")


# --- zones --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kathmandu",
             "Africa/Casablanca", "UTC", "+05:30", "UTC-03:00"],
)  # fmt: skip
def test_zones_are_those_of_pandas(zone: str) -> None:
    index = pandas.date_range("1965-01-01", "2030-01-01", freq="7h13min", tz="UTC")
    utc = index.tz_localize(None).as_unit("us").to_numpy()
    local = index.tz_convert(zone).tz_localize(None).as_unit("us").to_numpy()
    np.testing.assert_array_equal(zones.to_local(utc, zone), local)
    for second in (False, True):
        flags = np.full(len(local), second)
        twice, never = zones.shown_twice(local, zone), zones.never_shown(local, zone)
        wanted = pandas.DatetimeIndex(local).tz_localize(zone, ambiguous=~flags)
        wanted = wanted.tz_convert("UTC").tz_localize(None).as_unit("us").to_numpy()
        np.testing.assert_array_equal(zones.from_local(local, zone, flags), wanted)
        assert not never.any()
        assert np.array_equal(zones.from_local(local, zone, flags)[~twice], utc[~twice])


def test_hours_that_no_clock_shows_are_read_by_the_clock_before() -> None:
    local = np.array(["2020-03-29T01:59", "2020-03-29T02:00", "2020-03-29T03:00"], "datetime64[us]")
    assert zones.never_shown(local, "Europe/Berlin").tolist() == [False, True, False]
    found = zones.from_local(local, "Europe/Berlin", np.zeros(3, bool))
    assert [short(moment) for moment in found] == [
        "2020-03-29T00:59", "2020-03-29T01:00", "2020-03-29T01:00",
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ["Berlin", "../etc", "", "Europe"])
def test_a_zone_that_is_none_is_named(zone: str) -> None:
    text = f"timezone: expected the name of a time zone, such as 'Europe/Berlin', got {zone!r}"
    with raises(ValueError, text):
        zones.check_zone("timezone", zone)
    with raises(TypeError, "timezone: expected the name of a time zone, got 3"):
        zones.check_zone("timezone", 3)  # type: ignore[arg-type]
