"""Calendar features: hours, days, months, and only what can be learned."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from errors import raises
from rnncore.estimators.tables.calendar import calendar_features, choose
from rnncore.estimators.tables.frequency import parse

pytestmark = pytest.mark.once


def clock(start: str, n: int, hours: float = 1.0) -> np.ndarray:
    step = np.timedelta64(round(hours * 3600 * 10**6), "us")
    return np.datetime64(start, "us") + np.arange(n) * step


def test_each_feature_is_what_datetime_says() -> None:
    local = clock("1999-12-25T05:00", 3000, 7.25)
    names = [f"hour={h}" for h in range(24)] + ["weekday=Mon", "weekday=Sun", "month=2", "month=12"]
    names += ["day sin 1", "day cos 3", "year sin 1", "year cos 2"]
    found = calendar_features(local, names)
    assert found.shape == (3000, len(names))
    assert found.dtype == np.float64
    for row in range(0, 3000, 97):
        moment: datetime.datetime = local[row].item()
        wanted = [float(moment.hour == h) for h in range(24)]
        wanted += [float(moment.weekday() == 0), float(moment.weekday() == 6)]
        wanted += [float(moment.month == 2), float(moment.month == 12)]
        day = (moment - datetime.datetime.combine(moment, datetime.time())).total_seconds() / 86400
        start, end = datetime.datetime(moment.year, 1, 1), datetime.datetime(moment.year + 1, 1, 1)
        year = (moment - start) / (end - start)
        wanted += [np.sin(2 * np.pi * day), np.cos(6 * np.pi * day)]
        wanted += [np.sin(2 * np.pi * year), np.cos(4 * np.pi * year)]
        np.testing.assert_allclose(found[row], wanted, atol=1e-12)


def test_times_before_1970_have_a_calendar_too() -> None:
    local = np.array(["1969-12-31T23:00", "1968-02-29T00:30"], "datetime64[us]")
    names = ["hour=23", "weekday=Wed", "month=12", "weekday=Thu", "month=2"]
    np.testing.assert_array_equal(
        calendar_features(local, names), [[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    )


DAYS = [f"weekday={day}" for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")]
YEAR = ["year sin 1", "year cos 1", "year sin 2", "year cos 2"]
DAY = [f"day {wave} {k}" for k in (1, 2, 3, 4) for wave in ("sin", "cos")]


@pytest.mark.parametrize(
    ("freq", "hours", "n", "wanted"),
    [
        ("h", 1, 47, []),
        ("h", 1, 48, DAY),
        ("h", 1, 14 * 24 - 1, DAY),
        ("h", 1, 14 * 24, DAY + DAYS),
        ("h", 1, 730 * 24, DAY + DAYS + YEAR),
        ("15min", 0.25, 192, DAY),
        ("6h", 6, 8, ["hour=0", "hour=6", "hour=12", "hour=18"]),
        ("24h", 24, 14, DAYS),
        ("D", 24, 13, []),
        ("D", 24, 14, DAYS),
        ("D", 24, 700, DAYS),
        ("D", 24, 730, DAYS + YEAR),
        ("W", 168, 103, []),
        ("W", 168, 104, YEAR),
        ("integer", 24, 1000, []),
    ],
)
def test_only_what_two_periods_of_training_show_is_chosen(
    freq: str, hours: float, n: int, wanted: list[str]
) -> None:
    frequency = parse(1) if freq == "integer" else parse(freq)
    assert choose(frequency, clock("2020-01-01", n, hours)) == wanted


@pytest.mark.parametrize(("months", "count"), [(1, 12), (3, 4)])
def test_months_and_quarters_have_their_month(months: int, count: int) -> None:
    frequency = parse("M" if months == 1 else "Q")
    n = 24 // months
    local = (np.datetime64("2021-01", "M") + months * np.arange(n)).astype("datetime64[us]")
    wanted = [f"month={month}" for month in range(1, 13, months)]
    assert len(wanted) == count
    assert choose(frequency, local) == wanted
    assert choose(frequency, local[:-1]) == []
    np.testing.assert_array_equal(calendar_features(local, wanted), np.tile(np.eye(count), (2, 1)))
    assert choose(parse("Y"), local) == []


def test_business_days_have_no_weekend_and_rows_no_calendar() -> None:
    days = np.busday_offset("2020-01-01", np.arange(30)).astype("datetime64[us]")
    assert choose(parse("B"), days) == DAYS[:5]
    assert choose(parse("rows"), days) == []


def test_integers_have_no_calendar() -> None:
    assert choose(parse("rows"), np.arange(5)) == []


@pytest.mark.parametrize("name", ["hour=24", "Monday", "year tan 1", "week sin 1"])
def test_a_feature_that_is_none_is_named(name: str) -> None:
    text = (
        "calendar: expected features such as 'hour=13', 'weekday=Mon', 'month=1', 'day sin 1' or "
        f"'year cos 2', got {name!r}"
    )
    with raises(ValueError, text):
        calendar_features(clock("2020-01-01", 3), [name])
