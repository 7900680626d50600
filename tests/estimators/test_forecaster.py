"""RNNForecaster: tables of any kind, what it learns, leakage, intervals, files, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from errors import raises
from rnncore import checkpoint
from rnncore.estimators import Estimator, RNNForecaster, RNNRegressor
from rnncore.estimators.forecasting import backtest, fitted, fitting
from rnncore.estimators.forecasting.backtest import Backtest
from rnncore.estimators.forecasting.views import View

pandas = pytest.importorskip("pandas", reason="data frames: pandas is not installed")
polars = pytest.importorskip("polars", reason="data frames: polars is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="data frames: pyarrow is not installed")
pytest.importorskip("narwhals", reason="data frames: narwhals is not installed")

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:.*is better than the forecaster:UserWarning"),
]

RNG = np.random.default_rng(0)
WAVE = 10 + np.sin(np.arange(150) * 2 * np.pi / 7) + 0.1 * RNG.standard_normal(150)
DAYS = pandas.date_range("2024-01-01", periods=150, name="day")
SERIES = pandas.Series(WAVE, DAYS, name="y")
H = 5


def small(horizon: int = H, **options: Any) -> RNNForecaster:
    usual = {"hidden_size": 3, "max_iter": 2, "random_state": 0}
    return RNNForecaster(horizon, **usual | options)


def shops(days: int = 90, names: Any = "AB") -> Any:
    """Two shops with a price, a promotion and a kind of weather, all with a say, and a size."""
    rng, parts = np.random.default_rng(1), []
    for i, name in enumerate(names):
        promo, warm = rng.random(days) < 0.3, rng.random(days) < 0.5
        y = 50 * (i + 1) + 10 * promo + 5 * warm + rng.standard_normal(days)
        parts.append(
            pandas.DataFrame(
                {
                    "day": pandas.date_range("2024-01-01", periods=days),
                    "shop": name,
                    "y": y,
                    "promo": promo,
                    "weather": np.where(warm, "warm", "cold"),
                    "price": rng.random(days),
                    "size": ["small", "big"][i % 2],
                }
            )
        )
    return pandas.concat(parts, ignore_index=True)


SHOPS = shops()
ROLES = {
    "target": "y", "group": "shop", "past": "price", "future": ["promo", "weather"],
    "static": "size",
}  # fmt: skip
AHEAD = pandas.concat(
    [
        pandas.DataFrame({
            "day": pandas.date_range("2024-03-31", periods=H), "shop": name,
            "promo": [True, False] * 2 + [False], "weather": "cold",
        })
        for name in "BA"
    ]
)  # fmt: skip


def numbers(table: Any, name: Any = "y") -> Any:
    """A column of any library's table as an array."""
    if isinstance(table, np.ndarray):
        return table
    if hasattr(table, "column_names") or hasattr(table, "columns"):
        table = table[name]
    return np.asarray(table.to_numpy() if hasattr(table, "to_numpy") else table)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    return bool(one.equals(other) if hasattr(one, "equals") else np.array_equal(one, other))


# --- what it learns -----------------------------------------------------------------------------


def test_a_series_that_is_not_linear_is_learnt_beyond_ridge_regression() -> None:
    y = np.empty(500)
    y[0] = 0.3
    for t in range(1, 500):
        y[t] = 3.8 * y[t - 1] * (1 - y[t - 1])
    learnt = RNNForecaster(
        1, 3, hidden_size=16, max_iter=40, learning_rate=0.01, log=False, random_state=0
    ).fit(y)
    assert learnt.scores_.error() < 0.35 * learnt.scores_.error("ridge regression")


def test_a_column_known_ahead_whose_effect_is_bent() -> None:
    rng = np.random.default_rng(0)
    u = rng.uniform(-2, 2, 400)
    y = u**2 + 0.1 * rng.standard_normal(400)
    learnt = RNNForecaster(
        2, 4, target=0, future=1, hidden_size=16, max_iter=60, learning_rate=0.01, log=False,
        n_iter_no_change=20, random_state=0,
    ).fit(np.stack([y, u], axis=1))  # fmt: skip
    assert learnt.scores_.error() < 0.5 * learnt.scores_.error("ridge regression")
    values = learnt.predict(future=np.array([[0.0], [1.9]]))
    assert values[1, 0] - values[0, 0] > 2


def test_a_linear_series_is_forecast_as_well_as_by_ridge_regression() -> None:
    rng, y = np.random.default_rng(0), np.zeros(600)
    for t in range(2, 600):
        y[t] = 1.2 * y[t - 1] - 0.5 * y[t - 2] + rng.standard_normal()
    learnt = small(3, hidden_size=8, max_iter=20).fit(y[:450])
    test = learnt.evaluate(y[440:])
    assert test.error() < 1.05 * test.error("ridge regression")
    assert test.error() < 0.9 * test.error("naive")
    assert learnt.score(y[440:]) > 0.1


def test_without_training_it_is_ridge_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "shrinking", lambda view, others: [])  # the same for all lags
    still = small(learning_rate=0.0, log=False).fit(SERIES)
    rows = {row["method"]: row["mean_absolute_error"] for row in still.scores_.rows}
    assert rows["forecaster"] == pytest.approx(rows["ridge regression"], rel=1e-6)
    anchors = small(learning_rate=0.0, linear=False, log=False, season=7).fit(SERIES)
    assert anchors.view_ == "differences over 7 steps"
    np.testing.assert_allclose(anchors.predict(), WAVE[-7 : -7 + H], rtol=1e-6)


def test_linear_part_by_scikit_learn() -> None:
    """The forecast of a forecaster without a network, all the way by hand."""
    ridge_of = pytest.importorskip("sklearn.linear_model").Ridge
    window, cut = 8, 150 - max(H, round(0.15 * 150))
    still = small(
        window=window, learning_rate=0.0, log=False, calendar=None, season=None
    ).fit(WAVE)  # fmt: skip
    z = (WAVE - WAVE[:cut].mean()) / WAVE[:cut].std()

    def windows(stop: int, start: int = 0) -> tuple[Any, Any]:
        rows = np.arange(start, stop - window - H + 1)[:, None] + np.arange(window + H)
        return z[rows][:, :window], z[rows][:, window:]

    found = {}
    for anchor in ("zero", "last", "mean"):
        for alike in (False, True):
            for penalty in 10.0 ** np.arange(-6, 2):

                def forecast(
                    fit: Any, x: Any, anchor: str = anchor, alike: bool = alike,
                    penalty: float = penalty,
                ) -> Any:  # fmt: skip
                    def base(x: Any) -> Any:
                        if anchor == "zero":
                            return np.zeros((len(x), 1))
                        return x[:, -1:] if anchor == "last" else x.mean(axis=1, keepdims=True)

                    a, b = fit[0] - base(fit[0]), fit[1] - base(fit[0])
                    if alike:
                        a, b = np.concatenate([a, -a]), np.concatenate([b, -b])
                    ridge = ridge_of(alpha=penalty * len(a), fit_intercept=not alike)
                    return ridge.fit(a, b).predict(x - base(x)) + base(x)

                x, y = windows(150, cut - window)
                steps = np.unique(np.linspace(0, H - 1, 4).round().astype(int))
                error = np.abs(forecast(windows(cut), x) - y)[:, steps].mean()
                found[error] = forecast
    best = found[min(found)]
    said = best(windows(150), z[None, -window:])[0] * WAVE[:cut].std() + WAVE[:cut].mean()
    np.testing.assert_allclose(still.predict(), said, rtol=1e-7)


# --- tables -------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: SERIES.reset_index(),
    "pandas index": lambda: SERIES.to_frame(),
    "pandas series": lambda: SERIES,
    "pandas text": lambda: SERIES.reset_index().assign(day=DAYS.strftime("%Y-%m-%d")),
    "pandas zone": lambda: SERIES.tz_localize("Europe/Berlin"),
    "polars": lambda: polars.from_pandas(SERIES.reset_index()),
    "polars series": lambda: polars.Series("y", WAVE),
    "pyarrow": lambda: pyarrow.Table.from_pandas(SERIES.reset_index()),
    "pyarrow array": lambda: pyarrow.chunked_array([WAVE[:50], WAVE[50:]]),
    "numbers": lambda: WAVE,
    "list": lambda: WAVE.tolist(),
    "numbers (N, 1)": lambda: WAVE[:, None],
}
PLAIN: dict[str, Any] = {"calendar": None, "season": 7, "window": 14}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_gives_the_same_numbers_in_kind(kind: str, tmp_path: Any) -> None:
    data = KINDS[kind]()
    expected = small(**PLAIN).fit(WAVE)
    learnt = small(**PLAIN).fit(data)
    said = learnt.predict()
    if isinstance(data, (list, np.ndarray)):
        assert type(said) is np.ndarray
        assert said.shape == ((H,) if np.ndim(data) == 1 else (H, 1))
    else:
        assert type(said) is type(data)
    np.testing.assert_array_equal(numbers(said).ravel(), expected.predict())
    bounds = learnt.predict_interval()
    expected_bounds = expected.predict_interval()
    if isinstance(bounds, np.ndarray):
        np.testing.assert_array_equal(bounds.reshape(H, 3), expected_bounds)
    else:
        name = "value" if kind == "pyarrow array" else "y"
        for k, ending in enumerate(("", "_lower", "_upper")):
            np.testing.assert_array_equal(numbers(bounds, name + ending), expected_bounds[:, k])
    learnt.save(tmp_path / "a")
    assert same(RNNForecaster.load(tmp_path / "a").predict(), said)
    assert same(learnt.predict(data), said)


def test_a_series_without_a_name_stays_without_one(tmp_path: Any) -> None:
    for data in (SERIES.rename(None), polars.Series(WAVE)):
        learnt = small().fit(data)
        assert learnt.predict().name == data.name
        assert [*learnt.predict_interval().columns] == ["value", "value_lower", "value_upper"]
        assert learnt.scores_.rows[0]["target"] == "value"
        learnt.save(tmp_path / "a")
        assert same(RNNForecaster.load(tmp_path / "a").predict(), learnt.predict())


TIMES = [
    pandas.date_range("2015-01-31", periods=60, freq="ME"),
    pandas.date_range("2015-01-30", periods=60, freq="BME"),
    pandas.date_range("2015-01-01", periods=60, freq="QS"),
    pandas.date_range("2024-01-03", periods=60, freq="B"),
    pandas.date_range("2024-01-07", periods=60, freq="W-SUN"),
    pandas.date_range("2024-03-30 04:00", periods=60, freq="30min", tz="Europe/Berlin"),
    pandas.date_range("2024-10-25", periods=60, freq="h", tz="Europe/Berlin"),
    pandas.period_range("2015-01", periods=60, freq="M"),
]  # fmt: skip


@pytest.mark.parametrize("index", TIMES, ids=lambda index: f"{index.dtype} {index.freqstr}")
def test_times_go_on(index: Any) -> None:
    cut = {"30min": 38, "h": 40}.get(index.freqstr, 45)  # in front of a clock change
    series = pandas.Series(WAVE[:60], index)
    said = small(8, window=4).fit(series.iloc[:cut]).predict()
    assert [*said.index] == [*index[cut : cut + 8]]
    assert said.index.dtype == index.dtype


# --- groups and columns -------------------------------------------------------------------------


def test_groups_with_all_kinds_of_columns() -> None:
    learnt = small(**ROLES).fit(SHOPS)
    assert [*learnt.feature_names_in_] == ["y", "price", "promo", "weather", "size"]
    assert learnt.n_features_in_ == 5
    said = learnt.predict(future=AHEAD)
    assert [*said.columns] == ["day", "shop", "y"]
    assert said["shop"].tolist() == ["A"] * H + ["B"] * H
    assert said["day"].tolist() == [*pandas.date_range("2024-03-31", periods=H)] * 2
    y = said["y"].to_numpy().reshape(2, H)
    level = [50.0, 100]
    np.testing.assert_allclose(y - np.array(level)[:, None], [[10, 0, 10, 0, 0]] * 2, atol=3)
    warm = learnt.predict(future=AHEAD.assign(weather="warm"))["y"].to_numpy()
    np.testing.assert_allclose(warm - y.ravel(), 5, atol=1.5)
    unseen = learnt.predict(future=AHEAD.assign(weather="storm"))["y"]
    assert np.isfinite(unseen).all()
    size = np.where(AHEAD["shop"] == "A", "small", "big")
    later = pandas.concat([SHOPS, AHEAD.assign(size=size)], ignore_index=True)
    in_data = small(**ROLES).fit(later)  # rows ahead, without a target
    assert same(in_data.predict(), said)
    assert same(learnt.predict(later), said)
    assert same(learnt.predict(later.sort_values("day", kind="stable")), said)


def test_tables_of_other_libraries_with_groups() -> None:
    expected = small(**ROLES).fit(SHOPS).predict_interval(future=AHEAD)
    for of in (polars.from_pandas, pyarrow.Table.from_pandas):
        learnt = small(**ROLES).fit(of(SHOPS))
        said = learnt.predict_interval(future=of(AHEAD))
        assert type(said) is type(of(SHOPS))
        for name in ("y", "y_lower", "y_upper"):
            np.testing.assert_array_equal(numbers(said, name), expected[name])
        shop = said["shop"].to_pylist() if hasattr(said["shop"], "to_pylist") else [*said["shop"]]
        assert shop == ["A"] * H + ["B"] * H
        assert same(learnt.predict(of(SHOPS), future=of(AHEAD)), learnt.predict(future=of(AHEAD)))


def test_groups_of_numbers_and_of_two_columns() -> None:
    table = SHOPS.assign(code=np.where(SHOPS["shop"] == "A", 7, 9).astype(np.int32))
    said = small(target="y", group="code").fit(table).predict()
    assert said["code"].dtype == np.int32
    assert said["code"].tolist() == [7] * H + [9] * H
    both = small(target="y", group=["code", "shop"]).fit(table).predict()
    assert both["shop"].tolist() == ["A"] * H + ["B"] * H
    np.testing.assert_array_equal(both["y"], said["y"])


def test_several_targets() -> None:
    learnt = small(target=["y", "price"], group="shop").fit(SHOPS)
    said = learnt.predict_interval()
    names = ["y", "price", "y_lower", "y_upper", "price_lower", "price_upper"]
    assert [*said.columns] == ["day", "shop", *names]
    assert (said["price_lower"] <= said["price"]).all()
    assert (said["y"] > 30).all()
    assert (said["price"] < 2).all()
    assert [row["target"] for row in learnt.scores_.rows][::4] == ["y", "price"]
    array = np.stack([WAVE, -WAVE], axis=1)
    learnt = small(**PLAIN).fit(array)
    assert learnt.predict().shape == (H, 2)
    assert learnt.predict_interval().shape == (H, 2, 3)
    assert learnt.predict_history(array).shape[1:] == (2, 3)
    np.testing.assert_allclose(learnt.predict()[:, 0], -learnt.predict()[:, 1], atol=0.05)


def test_a_new_group_is_scaled_by_what_is_known_of_it() -> None:
    learnt = small(target="y", group="shop").fit(SHOPS)
    large = SHOPS[SHOPS["shop"] == "A"].assign(shop="C", y=lambda table: 1000 * table["y"])
    said = learnt.predict(large)
    assert said["shop"].tolist() == ["C"] * H
    known = learnt.predict(SHOPS)["y"].to_numpy()[:H]
    np.testing.assert_allclose(said["y"] / 1000, known, rtol=0.02)
    error = learnt.evaluate(large).error()
    assert 0 < error < 1.5 * 1000 * learnt.evaluate(SHOPS[SHOPS["shop"] == "A"]).error()
    between = large.copy()  # neither in its first window nor in its last one
    between.loc[between.index[40:50], "y"] += 1e4
    assert not same(learnt.predict(between), said)


def test_short_groups_do_no_harm() -> None:
    young = SHOPS[(SHOPS["shop"] == "B") & (SHOPS["day"] > "2024-03-27")]
    flat = SHOPS[SHOPS["shop"] == "A"].assign(shop="F", y=8.0)
    table = pandas.concat([SHOPS, young.assign(shop="C"), flat])
    learnt = small(window=2, target="y", group="shop", calendar=None).fit(table)
    said = learnt.predict().groupby("shop")["y"].mean()
    assert 90 < said["C"] < 125  # its scales are of its 3 rows
    assert said["F"] == pytest.approx(8, abs=0.5)
    long = small(window=9, target="y", group="shop").fit(table)
    with pytest.warns(UserWarning, match="^data: no forecast of 1 of 4") as warned:
        found = long.predict()
    assert found["shop"].tolist() == [name for name in "ABF" for _ in range(H)]
    assert [str(each.message) for each in warned] == [
        "data: no forecast of 1 of 4 groups, 'C': of the first expected 9 steps in a row (the "
        "window) up to the last one, 2024-03-30, got 3; leave the series out of data=, or fit with "
        "a smaller window"
    ]
    assert warned[0].filename == __file__
    with raises(ValueError, "data: group 'C': expected 9 steps in a row (the window) up to the "
                "last one, 2024-03-30, got 3; leave the series out of data=, or fit with a smaller "
                "window"):  # fmt: skip
        long.predict(table[table["shop"] == "C"])
    torn = SERIES.drop(DAYS[142])
    with raises(ValueError, "data: expected 9 steps in a row (the window) up to the last one, "
                "2024-05-29, got 7; leave the series out of data=, or fit with a smaller window, "
                "or with freq='rows', where trading days, say, are the steps"):  # fmt: skip
        small(window=9, irregular="repair").fit(torn).predict()


def test_a_group_that_ends_with_a_gap_needs_no_columns_ahead() -> None:
    torn = SHOPS[(SHOPS["shop"] == "A") | (SHOPS["day"] != "2024-03-28")]
    learnt = small(window=9, irregular="repair", **ROLES).fit(torn)
    with pytest.warns(UserWarning, match="no forecast of 1 of 2 groups, 'B': of the first expect"):
        found = learnt.predict(future=AHEAD[AHEAD["shop"] == "A"])
    assert found["shop"].tolist() == ["A"] * H


def test_new_rows_are_forecast_from_those_before_them_too() -> None:
    learnt = small(**PLAIN).fit(SERIES.iloc[:100])
    whole = learnt.predict(SERIES.iloc[:103])
    pandas.testing.assert_series_equal(learnt.predict(SERIES.iloc[100:103]), whole)
    with raises(ValueError, "data: expected 14 steps in a row (the window) up to the last one, "
                "2024-04-13, got 3; leave the series out of data=, or fit with a smaller "
                "window"):  # fmt: skip
        learnt.predict(SERIES.iloc[101:104])  # a day is missing between them


def test_history_of_forecasts() -> None:
    learnt = small(**PLAIN).fit(SERIES)
    history = learnt.predict_history(SERIES)
    assert [*history.columns] == ["y", "step", "y_lower", "y_upper"]
    assert history["step"].tolist() == [1, 2, 3, 4, 5] * (len(history) // 5)
    assert history.index[-1] == DAYS[-1]
    assert len(history) == (150 - 14) // 5 * 5
    at = SERIES.iloc[: 150 - 5]  # the last of them, from the rows in front of it
    np.testing.assert_allclose(learnt.predict(at), history["y"].iloc[-5:], rtol=1e-6)
    every = learnt.predict_history(SERIES, every=1)
    assert len(every) == (150 - 14 - 5 + 1) * 5
    wide = learnt.predict_history(SERIES, coverage=0.99)
    half = learnt.predict_history(SERIES, coverage=0.5)
    assert (wide["y_upper"] - wide["y_lower"] > half["y_upper"] - half["y_lower"]).all()
    np.testing.assert_array_equal(wide["y"], history["y"])


def test_a_gap_is_never_crossed() -> None:
    with raises(ValueError, "data: expected regular series, found what follows (irregular='repair' "
                "does as it says):\n- 1 gap, after 2024-02-09: 10 days missing; repair cuts the "
                "series; freq='rows' counts rows, such as trading days, as steps"):  # fmt: skip
        small().fit(SERIES.drop(DAYS[40:50]))
    torn = SERIES.drop(DAYS[40:50])
    learnt = small(irregular="repair", **PLAIN).fit(torn)
    assert learnt.repairs_ == ["1 gap, after 2024-02-09: 10 days missing: cuts the series"]
    history = learnt.predict_history(torn, every=1)
    assert not history.index.isin(DAYS[40 : 50 + 14]).any()
    assert set(DAYS[[14, 39, 64, 149]]) <= set(history.index)


# --- leakage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"strategy": "recursive"}, {"interval": "quantile"}])
def test_the_future_never_changes_a_forecast(options: dict[str, Any]) -> None:
    """Known groups and a new one, which has scales of its own."""
    learnt = small(**PLAIN, target="y", group="shop", log=False, **options).fit(SHOPS)
    table = shops(70, "AN")
    other = table.assign(y=np.where(table["day"] >= "2024-02-20", 1e4, table["y"]))
    one, two = (learnt.predict_history(each, every=1) for each in (table, other))
    before = (one["day"] - pandas.to_timedelta(one["step"], "D")).to_numpy() < np.datetime64(
        "2024-02-20"
    )
    assert 0 < before.sum() < len(one)
    assert same(one[before], two[before])
    assert not same(one[~before], two[~before])
    for shop in "AN":
        cut = table[(table["shop"] == shop) & (table["day"] < "2024-02-10")]
        known = learnt.predict(cut)["y"].to_numpy()
        there = one[(one["shop"] == shop) & (one["step"] == 1) & (one["day"] == "2024-02-10")]
        tolerance = 1e-6 if shop == "A" else 0.1  # the scales of a new group are those of its start
        np.testing.assert_allclose(known[0], there["y"].iloc[0], rtol=tolerance)


def test_rows_behind_those_of_fit_are_all_that_evaluate_counts() -> None:
    learnt = small(**PLAIN).fit(SERIES.iloc[:100])
    assert learnt.evaluate(SERIES.iloc[100:]).windows == 50 - H + 1
    moved = SERIES.iloc[101:]  # a day is missing between them
    assert learnt.evaluate(moved).windows == 49 - 14 - H + 1
    history = learnt.predict_history(SERIES.iloc[100:], every=1)
    assert history.index[0] == DAYS[100]
    np.testing.assert_allclose(history["y"].iloc[:H], learnt.predict(), rtol=1e-6)


def test_the_calendar_is_that_of_the_training_part() -> None:
    assert small(2, window=2).fit(SERIES.iloc[:15]).calendar_ == []
    assert len(small(2, window=2).fit(SERIES.iloc[:20]).calendar_) == 7


def test_an_origin_of_a_backtest_is_a_fit_of_its_own() -> None:
    found = small(**PLAIN).backtest(SERIES, origins=2, every=10)
    assert isinstance(found, Backtest)
    assert [each.windows for each in found.origins] == [1, 1]
    errors = []
    for stop in (135, 145):
        learnt = small(**PLAIN).fit(SERIES.iloc[:stop])
        errors.append(np.abs(learnt.predict() - SERIES.iloc[stop : stop + H]))
    by_origin = [each.error() for each in found.origins]
    np.testing.assert_allclose(by_origin, [each.mean() for each in errors], rtol=1e-6)
    assert found.scores.error() == pytest.approx(np.mean(by_origin))
    other = SERIES.copy()
    other.iloc[140:] = 1e4  # behind the first origin's steps
    again = small(**PLAIN).backtest(other, origins=2, every=10)
    assert again.origins[0].rows == found.origins[0].rows
    assert again.origins[1].error() > 100
    assert repr(found).startswith("backtest, 2 origins, 2 forecasts: mean absolute")
    assert repr(found).endswith(f"intervals of 80% held {found.coverage:.0%} of the values")
    assert found._repr_html_().startswith("<table>")
    with raises(ValueError, "origins: expected fewer, for 30 of them, 5 steps apart, reach back "
                "150 steps, and the shortest series has 150"):  # fmt: skip
        small().backtest(SERIES, origins=30)


def test_an_origin_of_a_backtest_counts_the_series_without_a_gap_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {"window": 7, "target": "y", "group": "shop", "irregular": "repair"}
    torn = SHOPS[(SHOPS["shop"] == "A") | (SHOPS["day"] != "2024-03-21")]
    found = small(**options).backtest(torn, origins=3)
    assert [each.windows for each in found.origins] == [2, 1, 1]
    both = SHOPS[SHOPS["day"] != "2024-03-28"]
    with pytest.warns(UserWarning, match=r"^origins: expected 7 \+ 5 consecutive steps \(window \+ "
                      r"horizon\) of some series there, got a gap, and skipped those \[5\] "
                      r"steps back$") as warned:  # fmt: skip
        found = small(**options).backtest(both, origins=3)
    assert warned[0].filename == __file__
    assert [each.windows for each in found.origins] == [2, 2]
    assert repr(found).startswith("backtest, 2 origins, 4 forecasts")
    monkeypatch.setattr(backtest, "fit_panel", None)  # nothing is trained
    with raises(ValueError, "origins: expected 7 + 5 consecutive steps (window + horizon) of some "
                "series there, got a gap at each of 1 origins"):  # fmt: skip
        small(**options).backtest(both, origins=1)


# --- intervals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", ["residuals", "quantile"])
def test_intervals_hold_what_they_promise(interval: str) -> None:
    shares = []
    for seed in range(6):
        y = np.random.default_rng(seed).standard_normal(2400)
        learnt = small(2, window=4, interval=interval, max_iter=1, season=None).fit(y[:1600])
        history = learnt.predict_history(y[1600:], every=1)
        starts = np.arange(len(history) // 2)
        truth = y[1600:][(starts[:, None] + 4 + np.arange(2)).ravel()]
        shares.append(np.mean((history[:, 1] <= truth) & (truth <= history[:, 2])))
    assert np.mean(shares) == pytest.approx(0.8, abs=0.03)
    assert (history[:, 1] <= history[:, 0]).all()
    assert (history[:, 0] <= history[:, 2]).all()
    np.testing.assert_array_equal(learnt.predict(), learnt.predict_interval()[:, 0])
    if interval == "residuals":
        widths = [
            np.diff(learnt.predict_interval(coverage=share)[:, 1:], axis=1)
            for share in (0.2, 0.5, 0.9, 0.999)
        ]
        assert all((b > a).all() for a, b in pairwise(widths))
        return
    learnt.set_params(coverage=0.5)
    with raises(ValueError, "coverage: expected 0.8, which the quantiles were learnt for, got 0.5"):
        learnt.predict_interval()
    assert learnt.predict_interval(coverage=0.8).shape == (2, 3)
    with raises(ValueError, "coverage: expected 0.8, which the quantiles were learnt for, got 0.9"):
        learnt.predict_interval(coverage=0.9)


def test_sales_are_never_negative() -> None:
    sales = np.random.default_rng(0).poisson(0.7, 200)
    for log in (False, True):
        learnt = small(log=log).fit(sales)
        assert (learnt.predict_interval(coverage=0.99) >= 0).all()
        assert (learnt.predict_history(sales) >= 0).all()


# --- going on, files, scikit-learn --------------------------------------------------------------


def test_partial_fit_goes_on_behind_the_new_rows() -> None:
    learnt = small(**PLAIN).partial_fit(SERIES.iloc[:100])
    epochs, weights = learnt.n_iter_, learnt.model_.flat_parameters.copy()
    learnt.partial_fit(SERIES.iloc[100:130])
    assert learnt.n_iter_ == len(learnt.loss_curve_) == epochs + 1
    assert (learnt.model_.flat_parameters != weights).any()
    assert learnt.predict().index[0] == DAYS[130]
    groups = small(target="y", group="shop").fit(SHOPS[SHOPS["day"] < "2024-03-20"])
    groups.partial_fit(SHOPS[(SHOPS["day"] >= "2024-03-20") & (SHOPS["shop"] == "B")])
    first = groups.predict().groupby("shop")["day"].first()
    assert [str(day)[:10] for day in first] == ["2024-03-20", "2024-03-31"]
    with raises(ValueError, "data: expected 14 + 5 consecutive steps of some series, got no such "
                "piece"):  # fmt: skip
        learnt.partial_fit(SERIES.iloc[140:145])


def test_partial_fit_with_older_rows_leaves_the_end_where_it_is() -> None:
    learnt = small(**PLAIN).fit(SERIES.iloc[30:100])
    learnt.partial_fit(SERIES.iloc[:40])
    assert learnt.predict().index[0] == DAYS[100]
    groups = small(target="y", group="shop").fit(SHOPS[SHOPS["day"] >= "2024-02-01"])
    old = SHOPS[(SHOPS["day"] < "2024-03-01") & (SHOPS["shop"] == "B")]
    groups.partial_fit(pandas.concat([old, old.assign(shop="C")]))
    first = groups.predict().groupby("shop", sort=False)["day"].first()
    assert [str(day)[:10] for day in first] == ["2024-03-31", "2024-03-31", "2024-03-01"]
    array = small(**PLAIN).fit(WAVE)  # rows of arrays have no times: they always go on
    array.partial_fit(WAVE[:50])
    np.testing.assert_array_equal(array.predict(), array.predict(WAVE[:50]))


FITTED = (
    "scores_", "loss_curve_", "validation_scores_", "view_", "window_", "season_", "frequency_",
    "calendar_", "repairs_", "n_iter_", "n_features_in_",
)  # fmt: skip


@pytest.mark.parametrize("data", [SHOPS, polars.from_pandas(SHOPS)], ids=["pandas", "polars"])
def test_what_is_kept_goes_on(data: Any, tmp_path: Any) -> None:
    learnt = small(**ROLES | {"future": None}, num_layers=2, dropout=0.1).fit(data)
    learnt.save(tmp_path / "a")
    kept = [Estimator.load(tmp_path / "a"), pickle.loads(pickle.dumps(learnt)),
            copy.deepcopy(learnt)]  # fmt: skip
    said = learnt.predict_interval()
    for again in kept:
        assert isinstance(again, RNNForecaster)
        assert same(again.predict_interval(), said)
        assert same(again.predict(data), learnt.predict(data))
        for name in FITTED:
            assert repr(getattr(again, name)) == repr(getattr(learnt, name)), name
        assert repr(again) == repr(learnt)
    more = [each.partial_fit(data).predict() for each in (learnt, *kept)]
    assert all(same(each, more[0]) for each in more)
    assert not same(more[0], said[["day", "shop", "y"]])


def test_files_of_others_are_refused(tmp_path: Any) -> None:
    RNNRegressor(max_iter=1).fit(np.zeros((4, 3, 1)), np.arange(4.0)).save(tmp_path / "a")
    with raises(checkpoint.CheckpointError,
                f"{tmp_path / 'a'}: expected RNNForecaster, got RNNRegressor"):  # fmt: skip
        RNNForecaster.load(tmp_path / "a")
    small().fit(SERIES).save(tmp_path / "b")
    whole = (tmp_path / "b").read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b""):
        (tmp_path / "b").write_bytes(damaged)
        with pytest.raises(checkpoint.CheckpointError):
            RNNForecaster.load(tmp_path / "b")
    checkpoint.save(small().fit(SERIES).model_, tmp_path / "b")
    with raises(checkpoint.CheckpointError, f"{tmp_path / 'b'}: expected an estimator, got a "
                "ManyToOne alone"):  # fmt: skip
        RNNForecaster.load(tmp_path / "b")


def test_the_same_random_state_gives_the_same_bits() -> None:
    one, two = small().fit(SERIES), small().fit(SERIES)
    assert same(one.predict(), two.predict())
    np.testing.assert_array_equal(one.model_.flat_parameters, two.model_.flat_parameters)
    other = small(random_state=1).fit(SERIES)
    assert (one.model_.flat_parameters != other.model_.flat_parameters).any()
    source = np.random.default_rng(0)
    first = small(random_state=source).fit(SERIES)
    second = small(random_state=source).fit(SERIES)
    assert (first.model_.flat_parameters != second.model_.flat_parameters).any()


def test_scikit_learn_takes_it() -> None:
    base = pytest.importorskip("sklearn.base")
    selection = pytest.importorskip("sklearn.model_selection")
    cv = selection.TimeSeriesSplit(2, test_size=12)
    forecaster = small(**PLAIN)
    again = base.clone(forecaster)
    assert again.get_params() == forecaster.get_params()
    assert not hasattr(again.set_params(max_iter=1), "model_")
    scores = selection.cross_val_score(forecaster, SERIES, cv=cv, error_score="raise")
    by_hand = []
    for train, test in cv.split(SERIES):
        learnt = small(**PLAIN).fit(SERIES.iloc[train])
        by_hand.append(learnt.score(SERIES.iloc[test]))
        r2 = learnt.predict_history(SERIES.iloc[test], every=1)["y"]
        truth = SERIES[r2.index]
        spread = np.square(truth - truth.mean()).sum()
        assert by_hand[-1] == pytest.approx(1 - np.square(truth - r2).sum() / spread, rel=1e-6)
    np.testing.assert_allclose(scores, by_hand)
    grid = selection.GridSearchCV(forecaster, {"window": [8, 14]}, cv=cv).fit(SERIES)
    assert grid.best_params_["window"] in (8, 14)
    assert len(grid.predict(SERIES)) == H


def test_before_fit() -> None:
    assert repr(RNNForecaster(3)) == "RNNForecaster(horizon=3)"
    assert RNNForecaster(3)._repr_html_().startswith("<table>")
    for call in ("predict", "predict_interval", "plot"):
        with pytest.raises(ValueError, match="expected a call of fit before this one, got none"):
            getattr(RNNForecaster(3), call)()
    for call in ("predict_history", "evaluate", "score"):
        with pytest.raises(AttributeError, match="expected a call of fit before this one"):
            getattr(RNNForecaster(3), call)(SERIES)


def test_what_a_notebook_shows() -> None:
    text = small().fit(SERIES)._repr_html_()
    assert text.startswith("<table>")
    for part in ("RNNForecaster (fitted)", "counted from", "weekday=Mon", "ridge regression"):
        assert part in text


def test_verbose_prints_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    learnt = small(verbose=True).fit(SERIES)
    assert repr(learnt.scores_) in capsys.readouterr().out


@pytest.mark.filterwarnings("default")
def test_a_warning_says_that_a_simple_method_is_better() -> None:
    walk = np.cumsum(np.random.default_rng(4).standard_normal(80))
    with pytest.warns(UserWarning, match="validation part: .* is better than the forecaster for"):
        learnt = small(linear=False, learning_rate=0.5, early_stopping=False).fit(walk)
    assert learnt.scores_.better


# --- what goes wrong ----------------------------------------------------------------------------


def test_a_fit_that_fails_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = small().fit(SERIES)
    said, scores = learnt.predict(), learnt.scores_
    for bad in (SERIES.iloc[:3], SERIES.astype(str) + "x", SERIES.replace(WAVE[3], np.nan), None):
        with pytest.raises((ValueError, TypeError)):
            learnt.fit(bad)

    def interrupted(*args: Any, **options: Any) -> Any:
        train(*args, **options)
        raise KeyboardInterrupt

    train = fitting.fit_samples
    monkeypatch.setattr(fitting, "fit_samples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learnt.fit(SERIES.iloc[:90])
    assert same(learnt.predict(), said)
    assert learnt.scores_ is scores
    monkeypatch.setattr(fitted, "fit_samples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learnt.partial_fit(SERIES)
    np.testing.assert_allclose(learnt.predict(), said, rtol=0.1)


PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"horizon": 0}, "horizon: expected an integer in [1, 2147483647], got 0"),
    ({"window": 2.5}, "window: expected a positive integer, got 2.5"),
    ({"season": "weekly"}, "season: expected a positive integer, got 'weekly'"),
    ({"calendar": "weekday"}, "calendar: expected 'auto', None or a list of names, got 'weekday'"),
    ({"calendar": 5}, "calendar: expected 'auto', None or a list of names, got 5"),
    ({"calendar": [5]}, "calendar: expected 'auto', None or a list of names, got [5]"),
    ({"calendar": ["hour"]}, "calendar: expected features such as 'hour=13', 'weekday=Mon', "
     "'month=1', 'day sin 1' or 'year cos 2', got 'hour'"),
    ({"strategy": "both"}, "strategy: expected one of 'direct', 'recursive', got 'both'"),
    ({"linear": 1}, "linear: expected True or False, got 1"),
    ({"log": "yes"}, "log: expected True or False, got 'yes'"),
    ({"interval": "both"}, "interval: expected one of 'residuals', 'quantile', got 'both'"),
    ({"interval": "quantile", "strategy": "recursive"},
     "interval: expected 'residuals' with strategy='recursive', got 'quantile'"),
    ({"coverage": 1}, "coverage: expected a number in (0, 1), got 1"),
    ({"cell": "tcn"}, "cell: expected one of 'gru', 'lstm', 'rnn', got 'tcn'"),
    ({"hidden_size": -1}, "hidden_size: expected an integer in [1, 2147483647], got -1"),
    ({"num_layers": None}, "num_layers: expected a positive integer, got None"),
    ({"dropout": 1}, "dropout: expected a number in [0, 1), got 1.0"),
    ({"learning_rate": -1}, "learning_rate: expected a finite number >= 0, got -1"),
    ({"learning_rate": np.nan}, "learning_rate: expected a finite number >= 0, got nan"),
    ({"max_iter": 0}, "max_iter: expected an integer in [1, 2147483647], got 0"),
    ({"batch_size": 0}, "batch_size: expected an integer in [1, 2147483647], got 0"),
    ({"clip_norm": 0}, "clip_norm: expected a positive number, got 0"),
    ({"validation_fraction": 1.5},
     "validation_fraction: expected a number in (0, 1), got 1.5"),
    ({"early_stopping": 1}, "early_stopping: expected True or False, got 1"),
    ({"n_iter_no_change": 0},
     "n_iter_no_change: expected an integer in [1, 2147483647], got 0"),
    ({"random_state": "a"},
     "random_state: expected an int >= 0, a generator or None, got 'a'"),
    ({"verbose": 2}, "verbose: expected True or False, got 2"),
    ({"irregular": "fix"}, "irregular: expected one of 'raise', 'repair', got 'fix'"),
    ({"horizon": 10**6}, "data: expected 1 + 1000000 consecutive steps (window + horizon) in the "
     "training part of some series, got none; the longest piece without gaps has 150 steps in all: "
     "pass a smaller window or horizon"),
    ({"strategy": "recursive", "past": 1, "target": 0}, "past: expected no columns with strategy="
     "'recursive', which would have to forecast them too, got [1]; make them targets, or use "
     "strategy='direct'"),
    ({"past": 1, "future": 1, "target": 0},
     "future: expected columns without another role, got 1, which is in past"),
    ({"past": 9}, "past: expected numbers of columns in [0, 1], got 9"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "text"), PARAMETERS, ids=lambda value: str(value)[:40])
def test_a_parameter_that_is_wrong_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        small(**options).fit(np.stack([WAVE, WAVE], axis=1))
    assert str(caught.value) == text


def frame(**columns: Any) -> Any:
    return pandas.DataFrame({"y": WAVE[:60], "day": DAYS[:60]} | columns)


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (np.zeros(0), {}, "data: expected at least one row, got none"),
    (frame().iloc[:0], {}, "data: expected at least one row, got none"),
    (WAVE[:1], {}, "freq: expected two different times in a series to find how far apart steps "
     "are; pass freq="),
    (WAVE[:8], {}, "data: expected 1 + 5 consecutive steps (window + horizon) in the training part "
     "of some series, got none; the longest piece without gaps has 8 steps in all: pass a smaller "
     "window or horizon"),
    (np.where(np.arange(150) == 4, np.inf, WAVE), {},
     "column 0: expected finite numbers, row 4 is inf"),
    (1e200 * WAVE, {}, "column '0': expected numbers up to 1e+100, got 1."),
    (np.full(60, np.nan), {"irregular": "repair"},
     "target: expected at least one row with a target"),
    (frame(z=1.0), {}, "target: expected which column to forecast, one of 'y', 'z'"),
    (frame(y=["n/a"] * 60), {"target": "y"}, "column 'y': expected numbers, got str, row 0 is "
     "'n/a'"),
    (frame(), {"group": "shop"}, "group: expected names of columns, of 'y', 'day', got 'shop'"),
    (frame(size=np.arange(60), g="a"), {"target": "y", "static": "size", "group": "g"},
     "static: expected one value of column 'size' in group 'a', got 0 in row 0 and 1 in row 1"),
    ({"y": [1, 2]}, {}, "data: expected a data frame, a series, or an array (N,) or (N, D) of "
     "numbers, got dict"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "options", "text"), BAD, ids=lambda value: str(value)[:30])
def test_a_table_that_is_wrong_is_named(data: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        small(**options).fit(data)
    assert str(caught.value).startswith(text)


def test_the_targets_are_columns() -> None:
    with raises(ValueError, "y: expected None: the targets are columns of data (target=), got y"):
        small().fit(SERIES, SERIES)  # type: ignore[arg-type]


def test_what_is_asked_wrongly_of_a_fitted_one_is_named() -> None:
    learnt = small(**ROLES).fit(SHOPS)
    with raises(ValueError, "future: group 'A': expected the columns ['promo', 'weather'] for 5 "
                "steps after 2024-03-30, got 0; pass future=, or rows without a target in "
                "data"):  # fmt: skip
        learnt.predict()
    with raises(ValueError, "future: expected a row of group 'A' at 2024-04-03, step 4 of 5, got "
                "none"):  # fmt: skip
        learnt.predict(future=AHEAD[AHEAD["day"] < "2024-04-03"])
    with raises(TypeError, "column 'price': expected numbers, got str, row 0 is 'x'"):
        learnt.predict(SHOPS.assign(price="x"), future=AHEAD)
    plain = small().fit(SERIES)
    with raises(ValueError, "future: expected None, since no column is known ahead"):
        plain.predict(future=AHEAD)
    with raises(ValueError, "every: expected an integer in [1, 2147483647], got 0"):
        plain.predict_history(SERIES, every=0)
    with raises(ValueError, "coverage: expected a number in (0, 1), got 1.5"):
        plain.predict_interval(coverage=1.5)
    with raises(ValueError, "data: expected 28 + 5 consecutive steps (window + horizon) of some "
                "series, got no such piece"):  # fmt: skip
        plain.evaluate(SERIES.iloc[:20])
    with raises(ValueError, "data: expected no column named 'step', which forecasts need"):
        taken = SERIES.rename("step")
        small().fit(taken).predict_history(taken)


@pytest.mark.parametrize(
    "y",
    [np.full(60, 5.0), np.zeros(60), np.full(60, 1e12), 1e12 + WAVE, 1e-12 * WAVE, WAVE > 10,
     np.arange(60), np.exp(np.arange(150) / 8), np.append(np.zeros(130), 1e4 * WAVE[:20]),
     np.exp(3 * RNG.standard_normal(150)), np.append(WAVE, 1e6 * WAVE[:40])],
    ids=["five", "zeros", "1e12", "1e12+", "1e-12", "bool", "line", "growth", "late", "wild",
         "jump"],
)  # fmt: skip
@pytest.mark.parametrize(
    "options",
    [{}, {"strategy": "recursive"}, {"interval": "quantile"}, {"log": True, "window": 3}],
    ids=str,
)
def test_forecasts_are_finite(y: Any, options: dict[str, Any]) -> None:
    learnt = small(20 if "strategy" in options else H, **options).fit(y)
    said = learnt.predict_interval()
    assert np.isfinite(said).all()
    y = np.asarray(y, float)
    assert np.abs(said).max() < 100 * max(np.abs(y).max(), 1e-15)
    if np.ptp(y) == 0:
        np.testing.assert_allclose(said, y[0])


@pytest.mark.parametrize("jump", [20, 1000])
def test_a_jump_in_the_last_rows_is_no_reason_to_explode(jump: float) -> None:
    for seed in range(4):
        noise = np.random.default_rng(seed).standard_normal(40)
        said = small(6).fit(noise + np.where(np.arange(40) > 36, jump, 0)).predict()
        assert np.abs(said).max() < 2 * jump


def test_the_smallest_of_all() -> None:
    learnt = small(1, window=1).fit(WAVE[:6])
    assert learnt.predict().shape == (1,)
    assert small(14).fit(WAVE[:30]).predict().shape == (14,)  # the default window is short
    far = small(3, window=5, season=9).fit(WAVE)  # no season in the window
    assert [row["method"] for row in far.scores_.rows] == [
        "forecaster", "naive", "ridge regression"
    ]  # fmt: skip
    assert "over" not in far.view_


def test_plot_of_one_group() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    learnt = small(target=["y", "price"], group="shop").fit(SHOPS)
    axes = learnt.plot(group="B", target="price")
    assert learnt.plot(ax=axes) is axes
    with raises(ValueError, "group: expected one of [('A',), ('B',)], got 'Z'"):
        learnt.plot(group="Z")
    with raises(ValueError, "target: expected one of ['y', 'price'], got 'z'"):
        learnt.plot(target="z")
