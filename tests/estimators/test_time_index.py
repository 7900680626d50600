"""Regular series out of tables: frequencies, clock changes, gaps, groups, rows ahead, errors."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as some
from rnncore.estimators.tables.frames import like
from rnncore.estimators.tables.panel_reading import (
    Encoding,
    Frequency,
    Panel,
    infer,
    parse,
    read_future,
    read_panel,
)
from rnncore.estimators.tables.times import TimeKind, Times, from_instants, short

pandas = pytest.importorskip("pandas", reason="data frames: pandas is not installed")
polars = pytest.importorskip("polars", reason="data frames: polars is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="data frames: pyarrow is not installed")
pytest.importorskip("narwhals", reason="data frames: narwhals is not installed")

pytestmark = pytest.mark.once

FOUND = "data: expected regular series, found what follows (irregular='repair' does as it says):\n"


def table(ds: Any, **columns: Any) -> Any:
    return pandas.DataFrame({"ds": ds, "y": np.arange(len(ds), dtype=float)} | columns)


def as_times(stamps: Any, zone: str | None = None) -> Times:
    values = np.array(stamps, "datetime64[us]")
    return from_instants(values, TimeKind("ds", "datetime", "us", zone))


def shown(times: Times) -> list[str]:
    return [short(moment) for moment in times.local]


# --- frequency ----------------------------------------------------------------------------------

RANGES = [
    ("h", "h", "h"), ("15min", "15min", "15min"), ("90s", "90s", "90s"),
    ("250ms", "250ms", "250ms"),
    ("D", "D", "D"), ("B", "B", "B"), ("W-SUN", "W", "W-SUN"), ("2W-MON", "2W", "2W-MON"),
    ("28D", "4W", "28D"), ("MS", "M", "MS"), ("ME", "M", "ME"), ("BME", "M", "BME"),
    ("BMS", "M", "BMS"), ("2MS", "2M", "2MS"), ("QS", "Q", "QS"), ("QE", "Q", "QE"),
    ("YS", "Y", "YS"), ("YE", "Y", "YE"), ("YE-JUN", "Y", "YE-JUN"), ("6h", "6h", "6h"),
]  # fmt: skip


@pytest.mark.parametrize(("alias", "text", "_"), RANGES)
def test_frequencies_of_pandas_are_found_and_go_on(alias: str, text: str, _: str) -> None:
    index = pandas.date_range("2019-01-29 00:00", periods=70, freq=alias)
    known, ahead = as_times(index[:60].to_numpy()), as_times(index[60:].to_numpy())
    shuffled = np.random.default_rng(0).permutation(60)
    found = infer(known.part(shuffled))
    assert str(found) == text
    assert parse(text).anchored(known) == found
    assert shown(found.future(known.part(slice(-1, None)), 10)) == shown(ahead)
    step, exact = found.steps(known, found.phase(known, np.zeros(60, np.int64)))
    assert exact.all()
    assert np.diff(step).tolist() == [1] * 59
    assert parse(alias) == parse(str(found)) or alias == "28D"


def test_a_day_of_the_month_that_some_months_lack() -> None:
    days = ["2020-01-30", "2020-02-29", "2020-03-30", "2020-04-30", "2020-05-30"]
    found = infer(as_times(days))
    assert (str(found), found.anchor) == ("M", "30")
    last = as_times(["2021-01-30"])
    assert shown(found.future(last, 3)) == ["2021-02-28", "2021-03-30", "2021-04-30"]


def test_integers_have_steps_of_their_own() -> None:
    times = Times(np.array([5, 15, 35, 25]), np.array([5, 15, 35, 25]), TimeKind("t"))
    found = infer(times)
    assert found == parse(10) == Frequency("integer", 10)
    assert found.future(times.part(slice(2, 3)), 2).values.tolist() == [45, 55]


def test_most_steps_decide_over_all_groups() -> None:
    stamps = np.array(
        ["2020-01-01", "2020-01-03", "2020-01-04", "2020-01-01", "2020-01-02"], "M8[us]"
    )
    assert str(infer(as_times(stamps), np.array([0, 0, 0, 1, 1]))) == "D"


@pytest.mark.parametrize("text", ["fortnight", "m", "-1h", "0h", "", 0, -3, True, 1.5, None, "h15"])
def test_a_frequency_that_is_none_is_named(text: Any) -> None:
    with raises(
        ValueError,
        "freq: expected a number with a unit of ns, us, ms, s, min, h, D, B, W, M, Q, Y (such as "
        f"'15min'), 'rows' or a positive integer, got {text!r}",
    ):
        parse(text)


def test_one_time_has_no_frequency() -> None:
    with raises(
        ValueError,
        "freq: expected two different times in a series to find how far apart steps are; pass "
        "freq=",
    ):
        read_panel(table(["2020-01-01"]), time="ds")
    panel = read_panel(table(["2020-01-01"]), time="ds", freq="W")
    assert shown(panel.frequency.future(panel.series[0].times, 1)) == ["2020-01-08"]


def test_durations_in_words() -> None:
    said = [parse(text).duration(n) for text, n in (("h", 1), ("15min", 3), ("W", 2), ("ms", 2))]
    assert said == ["1 hour", "45 minutes", "2 weeks", "2 steps of ms"]


# --- clock changes ------------------------------------------------------------------------------

ZONES = ["America/Los_Angeles", "Europe/Berlin"]
SPRING = {"America/Los_Angeles": "2020-03-08", "Europe/Berlin": "2020-03-29"}
AUTUMN = {"America/Los_Angeles": "2020-11-01", "Europe/Berlin": "2020-10-25"}


def days_around(day: str, zone: str, freq: str) -> Any:
    start = pandas.Timestamp(day, tz=zone) - pandas.Timedelta(days=2)
    end = pandas.Timestamp(day, tz=zone) + pandas.Timedelta(days=3)
    return pandas.date_range(start, end, freq=freq)


@pytest.mark.parametrize("freq", ["h", "15min", "D"])
@pytest.mark.parametrize("change", [SPRING, AUTUMN])
@pytest.mark.parametrize("zone", ZONES)
def test_times_with_a_zone_are_regular_through_a_change(zone: str, change: Any, freq: str) -> None:
    index = days_around(change[zone], zone, freq)
    panel = read_panel(table(index), time="ds")
    (series,) = panel.series
    assert str(panel.frequency) == freq
    assert series.segments == [(0, len(index))]
    assert np.array_equal(series.local, index.tz_localize(None).as_unit("us").to_numpy())
    following = panel.frequency.future(series.times.part(slice(0, 1)), len(index) - 1)
    assert np.array_equal(following.values, series.time[1:])
    assert np.array_equal(following.local, series.local[1:])


@pytest.mark.parametrize("freq", ["h", "30min"])
@pytest.mark.parametrize("change", [SPRING, AUTUMN])
@pytest.mark.parametrize("zone", ZONES)
def test_a_wall_clock_is_read_by_its_zone(zone: str, change: Any, freq: str) -> None:
    index = days_around(change[zone], zone, freq)
    panel = read_panel(table(index.tz_localize(None)), time="ds", timezone=zone)
    wanted = read_panel(table(index), time="ds").series[0]
    (series,) = panel.series
    assert np.array_equal(series.time, wanted.time)
    assert np.array_equal(series.local, wanted.local)
    assert series.segments == [(0, len(index))]
    assert panel.repairs == []


def test_a_wall_clock_without_its_zone_is_named_for_what_it_is() -> None:
    spring = table(days_around("2020-03-29", "Europe/Berlin", "h").tz_localize(None))
    with raises(
        ValueError,
        f"{FOUND}- 1 gap of an hour at night (a clock change?), after 2020-03-29T01:00: 1 hour "
        "missing; repair cuts the series; timezone= reads a wall clock as it is meant",
    ):
        read_panel(spring, time="ds")
    (series,) = read_panel(spring, time="ds", irregular="repair").series
    assert series.segments == [(0, 50), (50, 121)]
    autumn = table(days_around("2020-10-25", "Europe/Berlin", "30min").tz_localize(None))
    with raises(
        ValueError,
        f"{FOUND}- 1 row earlier than the one before it, 2020-10-25T02:00 after 2020-10-25T02:30, "
        "row 102; repair sorts the rows\n"
        "- 2 times that occur twice (the clock went back an hour), the first 2020-10-25T02:00, "
        "rows 100 and 102; repair averages the rows; timezone= tells them apart",
    ):
        read_panel(autumn, time="ds")


def test_a_time_that_no_clock_shows_is_named() -> None:
    naive = table(pandas.date_range("2020-03-28 22:00", periods=8, freq="h"))
    with raises(
        ValueError,
        f"{FOUND}- 1 time that clocks of Europe/Berlin never show (a clock change), "
        "2020-03-29T02:00, row 4; repair reads the clock before the change\n"
        "- 1 time that occurs twice, 2020-03-29T03:00, rows 4 and 5; repair averages the rows",
    ):
        read_panel(naive, time="ds", timezone="Europe/Berlin")


def test_times_of_a_zone_are_seen_in_another() -> None:
    index = pandas.date_range("2020-03-28 12:00", periods=48, freq="h", tz="UTC")
    (series,) = read_panel(table(index), time="ds", timezone="Europe/Berlin").series
    assert short(series.local[0]) == "2020-03-28T13:00"
    assert short(series.local[-1]) == "2020-03-30T13:00"
    with raises(ValueError, "timezone: expected None, since the times are integers"):
        read_panel(np.arange(5), timezone="UTC")


# --- irregular tables ---------------------------------------------------------------------------


def sales(shops: str = "BA", days: int = 20) -> Any:
    """Rows of two shops, day by day, with columns of all roles."""
    index = pandas.date_range("2020-01-01", periods=days)
    return pandas.concat(
        [
            pandas.DataFrame(
                {
                    "day": index,
                    "shop": shop,
                    "sales": 100.0 * number + np.arange(days),
                    "visits": 1.0,
                    "holiday": np.where(np.arange(days) % 5 == 0, "yes", "no"),
                    "price": np.arange(days) / 10,
                    "size": 50 + number,
                    "town": f"town {number}",
                }
            )
            for number, shop in enumerate(shops)
        ],
        ignore_index=True,
    )


ROLES: dict[str, Any] = {
    "time": "day", "target": "sales", "group": "shop", "past": "visits",
    "future": ["price", "holiday"], "static": ["size", "town"],
}  # fmt: skip


@pytest.mark.parametrize("library", ["pandas", "nullable", "arrow dtypes", "polars", "pyarrow"])
def test_every_library_gives_the_same_panel(library: str) -> None:
    data = sales()
    if library == "nullable":
        data = data.convert_dtypes()
    elif library == "arrow dtypes":
        data = data.convert_dtypes(dtype_backend="pyarrow")
    elif library == "polars":
        data = polars.from_pandas(data)
    elif library == "pyarrow":
        data = pyarrow.Table.from_pandas(data)
    panel = read_panel(data, **ROLES)
    assert [series.key for series in panel.series] == [("B",), ("A",)]
    assert panel.target_names == ["sales"]
    assert panel.past_names == ["visits"]
    assert panel.future_names == ["price", "holiday=no", "holiday=yes"]
    assert panel.static_names == ["size", "town=town 0", "town=town 1"]
    for number, series in enumerate(panel.series):
        np.testing.assert_array_equal(series.target[:, 0], 100 * number + np.arange(20))
        np.testing.assert_array_equal(series.past, np.ones((20, 1)))
        holiday = np.arange(20) % 5 == 0
        np.testing.assert_array_equal(
            series.future, np.stack([np.arange(20) / 10, ~holiday, holiday], axis=1)
        )
        np.testing.assert_array_equal(series.static, [50 + number, number == 0, number == 1])
        assert series.segments == [(0, 20)]
        assert short(series.time[-1]) == "2020-01-20"
        assert len(series) == 20
        assert len(series.ahead.step) == 0


def test_everything_irregular_is_told_in_one_error() -> None:
    data = sales().sample(frac=1, random_state=0).reset_index(drop=True)
    data = data.drop(data[(data["shop"] == "A") & (data["day"] == "2020-01-07")].index)
    data = pandas.concat([data, data[data["day"] == "2020-01-03"]], ignore_index=True)
    data.loc[(data["shop"] == "B") & (data["day"] == "2020-01-10"), "sales"] = None
    data.loc[(data["shop"] == "A") & (data["day"] == "2020-01-15"), "holiday"] = None
    with pytest.raises(ValueError, match=r"^data: expected regular series") as caught:
        read_panel(data, **ROLES)
    day = {
        (shop, when): int(data.index[(data["shop"] == shop) & (data["day"] == when)][which])
        for shop, when, which in (("B", "2020-01-03", 0), ("B", "2020-01-03", -1),
                                  ("B", "2020-01-10", 0), ("A", "2020-01-15", 0))
    }  # fmt: skip
    lines = str(caught.value).splitlines()
    assert lines[0] == FOUND.strip()
    assert len(lines) == 6
    assert lines[1].endswith("repair sorts the rows")
    first = "B" if read_panel(data, **ROLES, irregular="repair").series[0].key == ("B",) else "A"
    assert lines[2].startswith(
        f"- 2 times that occur twice, the first 2020-01-03 in group '{first}', rows "
    )
    assert lines[2].endswith("; repair averages the rows")
    assert lines[3] == (
        "- 1 gap, after 2020-01-06 in group 'A': 1 day missing; repair cuts the series; "
        "freq='rows' counts rows, such as trading days, as steps"
    )
    assert lines[4] == (
        "- 1 missing value of column 'sales', at 2020-01-10 in group 'B', row "
        f"{day['B', '2020-01-10']}; repair cuts the series"
    )
    assert lines[5] == (
        "- 1 missing value of column 'holiday', at 2020-01-15 in group 'A', row "
        f"{day['A', '2020-01-15']}; repair cuts the series"
    )
    panel = read_panel(data, **ROLES, irregular="repair")
    assert len(panel.repairs) == 5
    segments = {series.key[0]: series.segments for series in panel.series}
    assert segments == {"A": [(0, 6), (6, 13), (14, 19)], "B": [(0, 9), (10, 20)]}


def test_rows_of_one_time_are_averaged_and_categories_are_not() -> None:
    data = table(
        ["2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03"],
        note=["a", "a", "b", "b"],
        p=[1, 2, 5, 3],
    )
    data["y"] = [1.0, 2.0, 4.0, 8.0]
    (series,) = read_panel(
        data, time="ds", target="y", future=["note", "p"], irregular="repair"
    ).series
    np.testing.assert_array_equal(series.target[:, 0], [1, 3, 8])
    np.testing.assert_array_equal(series.future, [[1, 0, 1], [1, 0, 3.5], [0, 1, 3]])


def test_times_between_steps_are_named_and_moved() -> None:
    index = pandas.date_range("2020-01-01 00:05", periods=10, freq="h").to_list()
    index[4] += pandas.Timedelta(seconds=7)
    with raises(
        ValueError,
        f"{FOUND}- 1 time between steps of h, 2020-01-01T04:05:07, row 4; repair takes the nearest "
        "step",
    ):
        read_panel(table(index), time="ds")
    (series,) = read_panel(table(index), time="ds", irregular="repair").series
    assert series.segments == [(0, 10)]
    assert short(series.time[4]) == "2020-01-01T04:05"


def test_weekends_are_no_business_days() -> None:
    index = pandas.date_range("2020-01-06", periods=10, freq="B").to_list()
    weekend = [*index, pandas.Timestamp("2020-01-18")]
    with raises(
        ValueError,
        f"{FOUND}- 1 time between steps of B, 2020-01-18, row 10; repair leaves the rows out",
    ):
        read_panel(table(weekend), time="ds", freq="B")
    (series,) = read_panel(table(weekend), time="ds", freq="B", irregular="repair").series
    assert series.segments == [(0, 10)]


def test_trading_days_are_steps_whatever_their_dates() -> None:
    index = pandas.date_range("2020-01-06", periods=30, freq="B").delete([5, 6, 14])
    with raises(
        ValueError,
        f"{FOUND}- 2 gaps, the first after 2020-01-10: 2 business days missing; repair cuts the "
        "series; freq='rows' counts rows, such as trading days, as steps",
    ):
        read_panel(table(index), time="ds")
    panel = read_panel(table(index), time="ds", freq="rows")
    (series,) = panel.series
    assert series.segments == [(0, 27)]
    assert series.step.tolist() == list(range(27))
    assert shown(panel.frequency.future(series.times.part(slice(-1, None)), 2)) == [
        "2020-02-17", "2020-02-18",
    ]  # fmt: skip
    doubled = index.append(index[-1:])
    assert (
        len(read_panel(table(doubled), time="ds", freq="rows", irregular="repair").series[0]) == 27
    )


def test_missing_months_are_counted_in_months() -> None:
    index = pandas.date_range("2020-01-31", periods=24, freq="ME").delete([3, 4])
    with raises(
        ValueError, f"{FOUND}- 1 gap, after 2020-03-31: 2 months missing; repair cuts the series"
    ):
        read_panel(table(index), time="ds")


# --- arrays, series, and what is found by itself ------------------------------------------------


def test_arrays_and_series_need_no_names() -> None:
    (series,) = read_panel([3.0, 1.0, 2.0]).series
    assert series.key == ()
    assert series.time.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(series.target, [[3], [1], [2]])
    panel = read_panel(np.arange(12.0).reshape(4, 3), past=1, future=[2])
    np.testing.assert_array_equal(panel.series[0].target[:, 0], [0, 3, 6, 9])
    np.testing.assert_array_equal(panel.series[0].past[:, 0], [1, 4, 7, 10])
    assert (panel.target_names, panel.past_names, panel.future_names) == (["0"], ["1"], ["2"])
    index = pandas.date_range("2020-01-01", periods=3)
    (series,) = read_panel(pandas.Series([1, 2, 3], index, name="y")).series
    assert short(series.time[2]) == "2020-01-03"
    for values in (polars.Series("y", [1, 2, 3]), pyarrow.chunked_array([[1, 2], [3]])):
        (series,) = read_panel(values).series
        np.testing.assert_array_equal(series.target, [[1], [2], [3]])


def test_rows_are_counted_within_groups_where_there_is_no_time() -> None:
    data = pandas.DataFrame({"g": ["a", "b", "a", "b", "b"], "y": [1.0, 2, 3, 4, 5]})
    first, second = read_panel(data, group="g").series
    assert (first.time.tolist(), second.time.tolist()) == ([0, 1], [0, 1, 2])
    np.testing.assert_array_equal(second.target[:, 0], [2, 4, 5])


def test_the_only_dates_are_the_time_and_the_only_numbers_the_target() -> None:
    panel = read_panel(table(pandas.date_range("2020-01-01", periods=4), note=list("abcd")))
    assert (panel.roles.time, panel.roles.target) == ("ds", ["y"])
    assert panel.kind.type == "datetime"


def test_the_index_of_pandas_may_be_named_as_the_time() -> None:
    data = table(pandas.date_range("2020-01-01", periods=4)).set_index("ds")
    panel = read_panel(data, time="ds")
    assert (panel.roles.time, short(panel.series[0].time[3])) == (None, "2020-01-04")
    with raises(TypeError, "past: expected names of columns, got ['y']"):
        read_panel(data, past=[["y"]])


def dated(stamps: Any, **options: Any) -> Any:
    return pandas.DataFrame({"y": [3.0, 1, 2]}, index=pandas.Index(stamps, **options))


@pytest.mark.parametrize(
    "stamps",
    [["2020-01-03", "2020-01-01", "2020-01-02"],
     [datetime.date(2020, 1, day) for day in (3, 1, 2)],
     [datetime.datetime(2020, 1, day) for day in (3, 1, 2)]],
)  # fmt: skip
@pytest.mark.parametrize("named", [None, "when"])
def test_times_are_read_from_indices_and_columns_of_objects(stamps: Any, named: Any) -> None:
    objects = dated(stamps, name=named, dtype=object)
    for data in (objects, objects["y"], pandas.DataFrame({"when": objects.index, "y": objects.y})):
        with pytest.raises(ValueError, match="1 row earlier than the one before it"):
            read_panel(data)
        panel = read_panel(data, irregular="repair")
        assert shown(panel.series[0].times) == ["2020-01-01", "2020-01-02", "2020-01-03"]
        assert panel.series[0].target[:, 0].tolist() == [1, 2, 3]
    text = dated(["2020-01-01", "2020-01-02", "2020-01-03"], name=named)  # read_csv(index_col=0)
    panel = read_panel(text, time=named)
    assert panel.roles.time is None
    later = panel.frequency.future(panel.series[0].times.part(slice(2, 3)), 1)
    made = like(text, {"y": [1.0]}, time=later)
    assert (made.index.tolist(), made.index.name) == (["2020-01-04"], named)


@pytest.mark.parametrize(
    ("data", "text"),
    [(pandas.DataFrame({"when": ["01/09/2020", "02/09/2020"], "y": [1.0, 2]}),
      "time: found no column of times; column 'when' holds '01/09/2020'; pass time=, or "
      "freq='rows'"),
     (pandas.DataFrame({"y": [1.0, 2, 3], "shop": [None, "A", "B"]}, index=[4, 5, 6]),
      "time: found no column of times; column 'shop' holds 'A'; pass time=, or freq='rows'"),
     (polars.DataFrame({"when": ["1.9.2020", "2.9.2020"], "y": [1.0, 2]}),
      "time: found no column of times; column 'when' holds '1.9.2020'; pass time=, or "
      "freq='rows'"),
     (dated([2, 0, 1]),
      "time: found no column of times; the index holds 2, 0, 1, ...; call reset_index() and pass "
      "time=, or freq='rows'"),
     (dated(["Jan", "Feb", "Mar"])["y"],
      "time: found no column of times; the index holds 'Jan', 'Feb', 'Mar', ...; call "
      "reset_index() and pass time=, or freq='rows'"),
     (dated(range(3))[::-1],
      "time: found no column of times; the index holds 2, 1, 0, ...; call reset_index() and pass "
      "time=, or freq='rows'")],
)  # fmt: skip
def test_rows_of_a_frame_are_counted_only_where_nothing_else_is_meant(data: Any, text: str) -> None:
    with raises(ValueError, text):
        read_panel(data)
    panel = read_panel(data, freq="rows")
    assert panel.series[0].step.tolist() == list(range(len(data)))
    numbers = dated(range(3)).assign(x=True)
    for plain in (numbers, numbers.iloc[[1, 2]], numbers.iloc[1:], polars.DataFrame({"y": [1, 2]})):
        assert read_panel(plain, target="y").series[0].time.tolist() == list(range(len(plain)))


def test_an_index_of_several_levels_is_refused() -> None:
    data = sales().set_index(["shop", "day"])
    text = (
        "data: expected one index, got a MultiIndex of ['shop', 'day']; call reset_index() to make "
        "columns of it"
    )
    with raises(ValueError, text):
        read_panel(data, target="sales")
    with raises(ValueError, text):
        read_panel(data["sales"], freq="rows")


@pytest.mark.parametrize("values", [[None] * 4, ["a", None, None, None]])
def test_missing_categories_are_named(values: list[Any]) -> None:
    data = table(pandas.date_range("2020-01-01", periods=4), x=values)
    with pytest.raises(ValueError, match=r"[34] missing values of column 'x', the first at"):
        read_panel(data, target="y", past="x")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("role", ["past", "future", "static"])
def test_numbers_as_text_are_no_categories(role: str, library: str) -> None:
    days = pandas.date_range("2020-01-01", periods=4)

    def read(values: list[Any], dtype: Any = None) -> Panel:
        data = table(days, x=pandas.Series(values, dtype=dtype))
        made = {"polars": polars.from_pandas, "pyarrow": pyarrow.Table.from_pandas}
        return read_panel(made.get(library, lambda same: same)(data), target="y", **{role: "x"})

    with pytest.raises(TypeError, match=r"column 'x': expected numbers, .*, row 2 is 'n/a'"):
        read(["1.5", "2", "n/a", "3"])
    with pytest.raises(TypeError, match=r"'x': .* numbers written as text .*, row 0 is '7'; names"):
        read(["7"] * 4)
    for values, dtype in ((["7"] * 4, "category"), (["07"] * 4, None), (["7" * 19] * 4, None)):
        panel = read(values, dtype)
        assert panel.encoding.names(["x"]) == [f"x={values[0]}"]
    if role != "static":
        assert read(["1", "2", "a", "b"]).encoding.names(["x"])[2:] == ["x=a", "x=b"]


def test_what_occurs_once_is_no_category() -> None:
    days = pandas.date_range("2020-01-01", periods=42)
    names = [f"n{k % 21}" for k in range(42)]
    assert len(read_panel(table(days, x=names), target="y", past="x").past_names) == 21
    names[0] = "another"
    text = r"'x': expected categories that occur again and again, got 22 different ones in 42 rows"
    with pytest.raises(ValueError, match=text):
        read_panel(table(days, x=names), target="y", past="x")
    short = read_panel(table(days[:20], x=list("abcdefghijklmnopqrst")), target="y", past="x")
    assert len(short.past_names) == 20


def test_several_groups_make_keys_of_several() -> None:
    data = pandas.DataFrame(
        {
            "g": ["b", "b", "a", "a"] * 2,
            "k": [1, 2, 1, 2] * 2,
            "t": [0] * 4 + [1] * 4,
            "y": range(8),
        }
    )
    panel = read_panel(data, time="t", target="y", group=["g", "k"])
    assert [series.key for series in panel.series] == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]
    assert [series.target[:, 0].tolist() for series in panel.series] == [
        [0, 4],
        [1, 5],
        [2, 6],
        [3, 7],
    ]
    data.loc[5, "t"] = 3
    with pytest.raises(ValueError, match=r"in group \('b', 2\)"):
        read_panel(data, time="t", target="y", group=["g", "k"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"target": None}, "target: expected which column to forecast; none has numbers"),
        ({"target": None, "past": ()},
         "target: expected which column to forecast, one of 'sales', 'visits'"),
        ({"past": "sales"},
         "past: expected columns without another role, got 'sales', which is in target"),
        ({"future": ["price", "price"]}, "future: expected each column once, got 'price' twice"),
        ({"group": "sho"},
         "group: expected names of columns, of 'day', 'shop', 'sales', 'visits', 'holiday', "
         "'price', 'size', 'town', got 'sho'; did you mean 'shop'?"),
        ({"static": "price"},
         "static: expected one value of column 'price' in group 'B', got 0.0 in row 0 and 0.1 in "
         "row 1"),
        ({"freq": 3}, "freq: expected text such as 1h, since the times are dates, got 3"),
        ({"irregular": "cut"}, "irregular: expected one of 'raise', 'repair', got 'cut'"),
        ({"timezone": "Berlin"},
         "timezone: expected the name of a time zone, such as 'Europe/Berlin', got 'Berlin'"),
    ],
)  # fmt: skip
def test_wrong_roles_are_named(change: dict[str, Any], text: str) -> None:
    if change == {"target": None}:
        change = change | {"past": ["visits", "sales"]}
    if "future" not in change and change.get("static") == "price":
        change = change | {"future": ()}
    with raises(ValueError, text):
        read_panel(sales(), **ROLES | change)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ("text", TypeError, "data: expected a data frame, a series, or an array (N,) or (N, D) of "
                            "numbers, got str"),
        (np.zeros((2, 2, 2)), TypeError,
         "data: expected a data frame, a series, or an array (N,) or (N, D) of numbers, got "
         "ndarray of dtype float64 and shape (2, 2, 2)"),
        (np.zeros(0), ValueError, "data: expected at least one row, got none"),
        (polars.DataFrame({"a": [1]}).lazy(), TypeError,
         "data: expected a data frame in memory, got LazyFrame; call .collect()"),
        ([1.0, np.inf], ValueError, "column 0: expected finite numbers, row 1 is inf"),
        ([np.nan, np.nan], ValueError, "target: expected at least one row with a target"),
    ],
)  # fmt: skip
def test_wrong_data_are_named(data: Any, error: Any, text: str) -> None:
    with raises(error, text):
        read_panel(data)


# --- rows ahead ---------------------------------------------------------------------------------


def test_rows_without_a_target_at_the_end_are_ahead() -> None:
    data = sales()
    data.loc[(data["shop"] == "A") & (data["day"] > "2020-01-16"), ["sales", "visits"]] = None
    panel = read_panel(data.sample(frac=1, random_state=1), **ROLES, irregular="repair")
    series = {each.key[0]: each for each in panel.series}
    assert (len(series["A"]), len(series["B"])) == (16, 20)
    assert series["A"].segments == [(0, 16)]
    ahead = series["A"].ahead
    assert shown(ahead.times) == ["2020-01-17", "2020-01-18", "2020-01-19", "2020-01-20"]
    np.testing.assert_allclose(ahead.future[:, 0], [1.6, 1.7, 1.8, 1.9])
    assert (ahead.step - series["A"].step[-1]).tolist() == [1, 2, 3, 4]
    assert len(series["B"].ahead.step) == 0
    known = read_panel(data, **ROLES)  # nothing is wrong with such a table
    assert len(known.series[1].ahead.step) == 4
    bare = read_panel(data, **ROLES | {"future": (), "past": ()})  # nor where no column is known
    assert [len(each) for each in bare.series] == [20, 16]
    assert shown(bare.series[1].ahead.times) == shown(ahead.times)
    data.loc[data.index[30], "sales"] = None
    with pytest.raises(ValueError, match="1 missing value of column 'sales'"):
        read_panel(data, **ROLES | {"future": (), "past": ()})


def test_rows_ahead_end_where_one_is_missing() -> None:
    data = sales("A")
    data.loc[data["day"] > "2020-01-14", ["sales", "visits"]] = None
    cut = data.drop(data.index[17])
    (series,) = read_panel(cut, **ROLES, irregular="repair").series
    assert shown(series.ahead.times) == ["2020-01-15", "2020-01-16", "2020-01-17"]
    data.loc[15, "price"] = None
    (series,) = read_panel(data, **ROLES, irregular="repair").series
    assert shown(series.ahead.times) == ["2020-01-15"]


def future(days: int = 5) -> Any:
    data = sales(days=20 + days)
    return data[data["day"] > "2020-01-20"][["day", "shop", "price", "holiday"]]


def test_future_columns_come_from_a_table_of_their_own() -> None:
    panel = read_panel(sales(), **ROLES)
    table = future().sample(frac=1, random_state=0)
    for data in (table, polars.from_pandas(table), pyarrow.Table.from_pandas(table)):
        for ahead in read_future(data, panel, 3):
            assert shown(ahead.times) == ["2020-01-21", "2020-01-22", "2020-01-23"]
            np.testing.assert_allclose(ahead.future, [[2.0, 0, 1], [2.1, 1, 0], [2.2, 1, 0]])
    table.loc[table["day"] == "2020-01-22", "holiday"] = "unheard of"
    assert read_future(table, panel, 2)[0].future[1].tolist() == [2.1, 0, 0]


def test_what_is_missing_from_the_future_is_named() -> None:
    panel, data = read_panel(sales(), **ROLES), future().reset_index(drop=True)
    lost = data.drop(data[(data["shop"] == "A") & (data["day"] == "2020-01-23")].index)
    with raises(
        ValueError, "future: expected a row of group 'A' at 2020-01-23, step 3 of 5, got none"
    ):
        read_future(lost, panel, 5)
    assert len(read_future(lost, panel, 2)[1].step) == 2
    with raises(
        ValueError, "future: expected a row of group 'B' at 2020-01-26, step 6 of 6, got none"
    ):
        read_future(data, panel, 6)
    twice = pandas.concat([data, data[:1]], ignore_index=True)
    with raises(
        ValueError, "future: expected one row of group 'B' at 2020-01-21, got rows 0 and 10"
    ):
        read_future(twice, panel, 5)
    data.loc[3, "holiday"] = None
    with raises(
        ValueError,
        "future: expected a value of column 'holiday' in every row, row 3 is missing",
    ):
        read_future(data, panel, 5)
    with pytest.raises(ValueError, match=r"^future: expected names of columns.*got 'holiday'"):
        read_future(data.drop(columns="holiday"), panel, 5)


def test_the_future_of_arrays_and_of_trading_days() -> None:
    panel = read_panel(np.arange(12.0).reshape(4, 3), future=[1, 2])
    (ahead,) = read_future([[7.0, 8.0], [9.0, 10.0]], panel, 1)
    np.testing.assert_array_equal(ahead.future, [[7, 8]])
    assert (ahead.step.tolist(), ahead.times.values.tolist()) == ([4], [4])
    with raises(ValueError, "future: expected 3 rows after 3, got 2"):
        read_future([[7.0, 8.0], [9.0, 10.0]], panel, 3)
    with raises(ValueError, "future: expected an array (N, F) = (N, 2), got an array (2, 1)"):
        read_future([[7.0], [9.0]], panel, 2)
    index = pandas.date_range("2020-01-06", periods=6, freq="B")
    panel = read_panel(table(index[:3], x=1.0), time="ds", target="y", future="x", freq="rows")
    later = table(index[[5, 1, 3]], x=[6.0, 2, 4])
    (ahead,) = read_future(later, panel, 2)
    assert shown(ahead.times) == ["2020-01-09", "2020-01-13"]
    assert ahead.future[:, 0].tolist() == [4, 6]


def test_the_future_of_a_wall_clock() -> None:
    index = days_around("2020-10-25", "Europe/Berlin", "h").tz_localize(None)
    data = table(index, x=np.arange(len(index), dtype=float))
    roles: dict[str, Any] = {"time": "ds", "target": "y", "future": "x"}
    panel = read_panel(data[:40], **roles, timezone="Europe/Berlin")
    (ahead,) = read_future(data[40:], panel, 30)
    assert ahead.future[:, 0].tolist() == list(range(40, 70))
    assert np.array_equal(ahead.times.local, index[40:70].to_numpy().astype("M8[us]"))


# --- encodings and files ------------------------------------------------------------------------


def test_an_encoding_is_kept_and_applied_later() -> None:
    panel = read_panel(sales(), **ROLES)
    again = Encoding.from_state_dict(panel.encoding.state_dict())
    changed = sales()
    changed["town"] = "nowhere"
    later = read_panel(changed, **ROLES, encoding=again)
    assert later.static_names == panel.static_names
    assert later.series[0].static.tolist() == [50, 0, 0]
    assert repr(again) == repr(panel.encoding)


def test_booleans_are_one_column() -> None:
    data = table(pandas.date_range("2020-01-01", periods=3), b=[True, False, True])
    panel = read_panel(data, time="ds", target="y", future="b")
    assert panel.future_names == ["b"]
    assert panel.series[0].future[:, 0].tolist() == [1, 0, 1]


def test_all_that_describes_a_panel_can_be_filed() -> None:
    panel = read_panel(sales(), **ROLES)
    for part in (panel.kind, panel.frequency, panel.roles, panel.encoding):
        again = type(part).from_state_dict(part.state_dict())
        assert again.state_dict() == part.state_dict()


# --- random tables ------------------------------------------------------------------------------


def slow_segments(series: Any) -> list[tuple[int, int]]:
    """Maximal runs, row by row."""
    runs: list[list[int]] = []
    for i in range(len(series)):
        row = np.concatenate([series.target[i], series.past[i], series.future[i]])
        if np.isnan(row).any():
            continue
        if runs and runs[-1][1] == i and series.step[i] == series.step[i - 1] + 1:
            runs[-1][1] = i + 1
        else:
            runs.append([i, i + 1])
    return [(start, stop) for start, stop in runs]


@given(
    groups=some.integers(1, 4),
    length=some.integers(2, 30),
    seed=some.integers(0, 2**32 - 1),
    unit=some.sampled_from(["15min", "h", "D", "B", "MS", "ME"]),
)
@settings(deadline=None, max_examples=60)
def test_segments_are_maximal_and_cross_nothing(
    groups: int, length: int, seed: int, unit: str
) -> None:
    rng = np.random.default_rng(seed)
    index = pandas.date_range("2020-02-26", periods=length, freq=unit)
    parts = []
    for number in range(groups):
        keep = rng.random(length) < 0.85
        keep[rng.integers(length)] = True
        part = pandas.DataFrame({"t": index[keep], "g": number, "at": np.flatnonzero(keep)})
        parts.append(part.assign(y=part["at"] + 1000.0 * number))
    data = pandas.concat(parts, ignore_index=True)
    data.loc[rng.random(len(data)) < 0.1, "y"] = np.nan
    data["x"] = np.where(rng.random(len(data)) < 0.05, np.nan, 1.0)
    data = data[data.groupby("g")["y"].transform("count") > 0]
    if data.empty:
        return
    shuffled = data.sample(frac=1, random_state=seed % 2**31)
    panel: Panel = read_panel(
        shuffled, time="t", target="y", past="x", group="g", freq=unit, irregular="repair"
    )
    assert sorted(series.key[0] for series in panel.series) == sorted(set(data["g"]))
    for series in panel.series:
        mine = data[data["g"] == series.key[0]].sort_values("t")
        mine = mine[mine["y"][::-1].notna().cummax()[::-1]]  # rows at the end are to predict
        np.testing.assert_array_equal(series.target[:, 0], mine["y"])
        np.testing.assert_array_equal(series.time, mine["t"].to_numpy().astype("M8[us]"))
        assert np.array_equal(np.diff(series.step), np.diff(mine["at"]))
        assert series.segments == slow_segments(series)


def test_a_million_rows_are_read_without_a_loop_over_rows() -> None:
    """Ten times the rows of a hundred groups take no more Python calls."""
    import sys

    def calls(rows: int) -> int:
        index = pandas.date_range("2020-01-01", periods=rows, freq="h")
        data = pandas.DataFrame(
            {"t": np.tile(index, 20), "g": np.repeat(np.arange(20), rows), "y": np.ones(20 * rows)}
        )
        count = 0

        def tick(*_: Any) -> None:
            nonlocal count
            count += 1

        sys.setprofile(tick)
        try:
            read_panel(data, time="t", target="y", group="g")
        finally:
            sys.setprofile(None)
        return count

    calls(10)
    assert calls(1000) < 1.2 * calls(100)


def test_dates_of_python_make_days() -> None:
    days = [datetime.date(2020, 2, 27) + datetime.timedelta(days=k) for k in range(5)]
    panel = read_panel(table(days), time="ds")
    assert str(panel.frequency) == "D"
    assert shown(panel.series[0].times)[2] == "2020-02-29"
