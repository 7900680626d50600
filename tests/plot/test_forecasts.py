"""Pictures of forecasts: what is drawn is what was given, and bad input is named."""

from __future__ import annotations

import datetime
import sys
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

pytestmark = pytest.mark.once

matplotlib = pytest.importorskip("matplotlib", reason="draws with matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from rnncore import plot  # noqa: E402
from rnncore.plot._axes import DASHES  # noqa: E402

HOURS = np.datetime64("2024-03-01T00") + np.arange(5)


def lines(ax: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in ax.lines}


def values(line: Any) -> Any:
    return np.asarray(line.get_ydata(orig=True), float)


def test_draws_what_was_given() -> None:
    forecast, truth = [2.0, 4.0, 3.0], [1.0, np.nan, 5.0]
    ax = plot.forecast(
        HOURS[2:], forecast, lower=[1, 3, 2], upper=[4, 5, 6], truth=truth, past=[7, 8],
        past_time=HOURS[:2], name="load", unit="kW",
    )  # fmt: skip
    drawn = lines(ax)
    np.testing.assert_array_equal(values(drawn["forecast"]), forecast)
    np.testing.assert_array_equal(values(drawn["truth"]), truth)
    np.testing.assert_array_equal(values(drawn["past"]), [7, 8])
    np.testing.assert_array_equal(drawn["past"].get_xdata(orig=True), HOURS[:2])
    np.testing.assert_array_equal(drawn["forecast"].get_xdata(orig=True), HOURS[2:])
    corners = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert {1.0, 3.0, 2.0, 4.0, 5.0, 6.0} <= set(corners)
    assert ax.collections[0].get_label() == "interval"
    assert (ax.get_ylabel(), ax.get_xlabel(), ax.get_title()) == ("load (kW)", "time", "")
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(named) == ["forecast", "interval", "past", "truth"]
    assert len(pyplot.get_fignums()) == 1
    ax.figure.canvas.draw()


def test_lines_differ_without_their_colours() -> None:
    many = {str(i): [0.0, i] for i in range(6)}
    ax = plot.forecast([0, 1], many, truth=[0, 1], past=[0, 1], past_time=[-2, -1])
    drawn = lines(ax)
    assert [drawn[name].is_dashed() for name in ("truth", "past", *many)] == [False] * 2 + [
        True
    ] * 6
    assert len({str(dashes) for dashes in DASHES}) == 6
    colours = {drawn[name].get_color() for name in [*many, "truth", "past"]}
    assert len(colours) == 8


def test_several_forecasts_and_their_bands() -> None:
    ax = plot.forecast(
        range(3), {"LSTM": [1, 2, 3], "ridge": [2, 3, 4]}, lower={"ridge": [1, 1, 1]},
        upper={"ridge": [5, 5, 5]},
    )  # fmt: skip
    assert [c.get_label() for c in ax.collections] == ["interval of ridge"]
    drawn = lines(ax)
    assert ax.collections[0].get_facecolor()[0, :3] == pytest.approx(
        matplotlib.colors.to_rgb(drawn["ridge"].get_color())
    )
    np.testing.assert_array_equal(values(drawn["LSTM"]), [1, 2, 3])
    assert ax.get_xlabel() == "step"


def test_given_axes_are_used_and_no_figure_is_made() -> None:
    above, below = Figure().subplots(2, 1)
    assert plot.forecast(range(2), [0, 1], ax=above) is above
    assert plot.forecast_error(range(2), [0, 1], [0, 0], ax=below) is below
    assert pyplot.get_fignums() == []


def test_a_value_between_gaps_is_a_point() -> None:
    y = [1.0, np.nan, 2.0, np.nan, 3.0, 4.0]
    ax = plot.forecast(range(6), y, lower=np.subtract(y, 1), upper=np.add(y, 1), truth=range(6))
    drawn = lines(ax)
    assert drawn["forecast"].get_marker() == "o"
    assert drawn["forecast"].get_markevery() == [True, False, True, False, False, False]
    assert drawn["truth"].get_marker() == "None"
    bars = ax.collections[-1].get_segments()
    np.testing.assert_array_equal(bars, [[[0, 0], [0, 2]], [[2, 1], [2, 3]]])
    ax = plot.forecast([HOURS[0]], [1.0], lower=[0], upper=[2])  # one step
    assert lines(ax)["forecast"].get_markevery() == [True]
    ax.figure.canvas.draw()


def test_dates_are_labelled_in_their_time_zone() -> None:
    first = datetime.datetime(2024, 10, 26, 20, tzinfo=datetime.timezone.utc)
    hours = [first + datetime.timedelta(hours=i) for i in range(12)]
    local = [hour.astimezone(ZoneInfo("Europe/Berlin")) for hour in hours]  # clocks go back
    ax = plot.forecast(local, range(12))
    x = ax.lines[0].get_xdata(orig=True)
    np.testing.assert_array_equal(np.diff(x), np.timedelta64(1, "h"))
    ticks = [matplotlib.dates.date2num(hours[i]) for i in (0, 1)]
    assert ax.xaxis.get_major_formatter().format_ticks(ticks) == ["22:00", "23:00"]


def test_days_without_hours() -> None:
    days = [datetime.date(2024, 2, 28), datetime.date(2024, 2, 29)]
    x = plot.forecast(days, [1, 2]).lines[0].get_xdata(orig=True)
    np.testing.assert_array_equal(x, np.array(["2024-02-28", "2024-02-29"], "datetime64[D]"))
    with pytest.raises(TypeError, match="time: expected dates that all have a time zone, got"):
        plot.forecast(
            [datetime.datetime(2024, 2, 28, tzinfo=datetime.timezone.utc), days[1]], [1, 2]
        )


def test_errors_and_their_mean() -> None:
    ax = plot.forecast_error(range(3), {"a": [1, 2, 3]}, [2.0, np.nan, 0.0], unit="kW")
    line = next(line for line in ax.lines if line.get_label().startswith("a"))
    assert line.get_label() == "a: mean |error| 2"
    np.testing.assert_array_equal(values(line), [-1, np.nan, 3])
    assert ax.get_ylabel() == "forecast - truth (kW)"
    ax = plot.forecast_error([0], [np.nan], [1.0])
    assert ax.lines[-1].get_label() == "forecast: mean |error| unknown"


def test_the_legend_covers_no_data() -> None:
    y = np.sin(np.arange(200))
    for many in ({"a": y}, {f"{i} of many names": y for i in range(9)}):
        for ax in (
            plot.forecast(range(200), many, truth=y),
            plot.forecast_error(range(200), many, y),
        ):
            ax.figure.canvas.draw()
            box = ax.get_legend().get_window_extent()
            tops = [line.get_window_extent().y1 for line in ax.lines]
            assert max(tops) <= box.y0 + 2
            assert box.x1 <= ax.bbox.x1
    below, ax = ax.get_ylim()[1], plot.forecast(range(200), 9 * y, ax=ax)
    assert ax.get_ylim()[1] > 9 > below  # what comes later scales the axes again


def test_long_names_are_folded() -> None:
    ax = plot.forecast([0, 1], {"word " * 100: [0, 1]})
    assert max(map(len, ax.lines[0].get_label().split("\n"))) <= 60
    assert ax.lines[0].get_label().endswith("…")


BAD: dict[str, tuple[type[Exception], str, Any]] = {
    "short": (ValueError, r"forecast: expected \(N,\) as time = \(3,\), got \(2,\)", [[0, 1]]),
    "none": (ValueError, "forecast: expected at least one, got an empty mapping", [{}]),
    "text": (TypeError, "forecast: expected real numbers, got", [["a", "b", "c"]]),
    "named": (ValueError, r"forecast\['LSTM'\]: expected \(N,\)", [{"LSTM": [1]}]),
    "ax": (TypeError, "ax: expected a matplotlib Axes, got str", [[0, 1, 2], {"ax": "p.png"}]),
    "truth": (ValueError, "truth: expected", [[0, 1, 2], {"truth": [1]}]),
    "half": (ValueError, "lower: expected None without upper", [[0, 1, 2], {"lower": [0, 0, 0]}]),
    "crossed": (
        ValueError,
        "lower: expected at most upper, got 2 above 1 at index 1",
        [[0, 1, 2], {"lower": [0, 2, 0], "upper": [1, 1, 1]}],
    ),
    "stranger": (
        ValueError,
        r"lower: expected names of forecasts \['a'\], got 'b'",
        [{"a": [0, 1, 2]}, {"lower": {"b": [0, 0, 0]}, "upper": {"b": [0, 0, 0]}}],
    ),
    "past": (ValueError, "past: expected None without past_time", [[0, 1, 2], {"past": [1]}]),
    "past length": (
        ValueError,
        r"past: expected \(P,\) as past_time",
        [[0, 1, 2], {"past": [1], "past_time": [-2, -1]}],
    ),
    "past kind": (
        TypeError,
        "past_time: expected numbers as time, got dates",
        [[0, 1, 2], {"past": [1], "past_time": HOURS[:1]}],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    error, text, (forecast, *more) = BAD[case]
    with pytest.raises(error, match=text):
        plot.forecast(range(3), forecast, **(more[0] if more else {}))
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("time", "error", "text"),
    [
        ([2, 1], ValueError, r"time: expected increasing times, got 1.0 after 2.0 at index 1"),
        ([1, np.nan], ValueError, "time: expected finite numbers or dates, got nan at index 1"),
        ([HOURS[0], np.datetime64("NaT")], ValueError, "time: .* got NaT at index 1"),
        (["a", "b"], TypeError, "time: expected numbers or dates, got dtype <U1"),
        ([None, 1], TypeError, "time: expected numbers or dates, got None at index 0"),
        ([], ValueError, r"time: expected \(N,\) with N >= 1"),
        ([[1], [2]], ValueError, r"time: expected \(N,\) with N >= 1, got \(2, 1\)"),
    ],
)
def test_bad_times_are_named(time: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        plot.forecast(time, np.zeros(len(time)))
    assert pyplot.get_fignums() == []


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.pyplot", "matplotlib.axes"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plot.forecast(range(3), range(3))
