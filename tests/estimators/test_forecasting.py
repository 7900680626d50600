"""The parts of the forecaster, in numbers: windows, views, scales, ridge, network, scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as some
from rnncore.estimators import RNNForecaster
from rnncore.estimators.forecasting import fitting, linear, recurrent, windows
from rnncore.estimators.forecasting.baselines import Ridge, naive, seasonal_naive
from rnncore.estimators.forecasting.fitted import fit_panel
from rnncore.estimators.forecasting.linear import Choice, Moments, choose
from rnncore.estimators.forecasting.recurrent import Reading, ResidualSamples, build, predict_scaled
from rnncore.estimators.forecasting.scaled_table import ScaledTable, Scales
from rnncore.estimators.forecasting.scales import ColumnScales, SeriesScales
from rnncore.estimators.forecasting.scores import ForecastScores, r_squared
from rnncore.estimators.forecasting.series import cut, joined, season_of, tail, window_of
from rnncore.estimators.forecasting.settings import Settings
from rnncore.estimators.forecasting.source import read_first
from rnncore.estimators.forecasting.views import View, views
from rnncore.estimators.forecasting.windows import SeriesTable, Windows, windows_between
from rnncore.estimators.tables.frequency import parse
from rnncore.estimators.tables.panel_reading import read_panel
from rnncore.layers import GRU

pytestmark = pytest.mark.once

L, H, D, P, K = 6, 3, 2, 1, 2
RIDGE = [View("last", False, 0), View("zero", True, 0), View("season", False, 4)]


def made(counts: tuple[int, ...] = (60, 45), gaps: tuple[int, ...] = (25, 80)) -> SeriesTable:
    """Series of random numbers with two targets, a column of the past, two known, one static."""
    rng, N = np.random.default_rng(1), sum(counts)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    edges = np.unique(np.concatenate([bounds, gaps])).astype(np.int64)
    target = np.cumsum(rng.standard_normal((N, D)), axis=0) + 5
    columns = [rng.standard_normal((N, width)) for width in (P, K)]
    static = rng.standard_normal((len(counts), 1))
    segments = np.stack([edges[:-1], edges[1:]], axis=1)
    return SeriesTable(target, *columns, static, bounds, segments)


def scaled_of(table: SeriesTable, log: bool = False, ends: Any = None) -> ScaledTable:
    target = SeriesScales.measured(table, table.bounds[1:] if ends is None else ends, log)
    columns = [ColumnScales.measured(each) for each in (table.past, table.known, table.static)]
    return ScaledTable.of(table, Scales(target, *columns))


def all_windows(table: SeriesTable, past: int = L, future: int = H) -> Windows:
    return windows_between(table, past, future, table.bounds[:-1], table.bounds[1:])


def panel_of(data: Any, **options: Any) -> tuple[Any, Settings]:
    """A panel, and the settings of a small forecaster."""
    small = {"hidden_size": 3, "max_iter": 2, "random_state": 0}
    params = RNNForecaster(**{"horizon": H, "window": L} | small | options).get_params()
    return read_first(data, params), Settings.read(params)


# --- windows ------------------------------------------------------------------------------------


@given(
    some.lists(some.lists(some.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=3),
    some.integers(1, 4), some.integers(1, 3), some.booleans(), some.data(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_windows_never_cross_a_gap_or_a_group(
    pieces: list[list[int]], past: int, future: int, reach: bool, data: some.DataObject
) -> None:
    """Each series is some segments under one another."""
    sizes = [size for each in pieces for size in each]
    segment = np.repeat(np.arange(len(sizes)), sizes)
    counts = [sum(each) for each in pieces]
    bounds = np.concatenate([[0], np.cumsum(counts)])
    edges = np.concatenate([[0], np.cumsum(sizes)])
    N = int(bounds[-1])
    lows = np.array([data.draw(some.integers(0, n)) for n in counts]) + bounds[:-1]
    highs = np.array([data.draw(some.integers(0, n)) for n in counts]) + bounds[:-1]
    empty = np.zeros((N, 0))
    table = SeriesTable(
        np.zeros((N, 1)), empty, empty, np.zeros((len(counts), 0)), bounds,
        np.stack([edges[:-1], edges[1:]], axis=1),
    )  # fmt: skip
    back = past if reach else 0
    expected = []
    for start in range(N - past - future + 1):
        rows = np.arange(start, start + past + future)
        g = int(np.searchsorted(bounds, start, side="right")) - 1
        inside = start >= lows[g] - back and rows[-1] < highs[g]
        if inside and len(set(segment[rows])) == 1:
            expected.append(start)
    found = windows_between(table, past, future, lows, highs, back)
    assert found.starts.tolist() == expected
    assert found.future_rows.tolist() == [
        list(range(start + past, start + past + future)) for start in expected
    ]


def test_every_ends_with_each_piece() -> None:
    table = made()
    found = all_windows(table)
    for step in (1, 2, 5, 100):
        expected = []
        for start, stop in table.segments:
            last = stop - L - H
            expected += sorted(range(last, start - 1, -step))
        assert found.every(step).starts.tolist() == expected
    assert all_windows(table, 90).every(2).starts.tolist() == []


def test_blocks_and_thinned_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = all_windows(made())
    monkeypatch.setattr(windows, "_BLOCK", 50)
    blocks = list(found.blocks(10))
    assert {len(block) for block in blocks[:-1]} == {5}
    assert np.concatenate([block.starts for block in blocks]).tolist() == found.starts.tolist()
    assert [len(block) for block in found.blocks(10**9)] == [1] * len(found)
    few = found.thinned(7)
    assert len(few) == 7
    assert few.starts[[0, -1]].tolist() == found.starts[[0, -1]].tolist()
    assert found.thinned(1000) is found


# --- views --------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", views(L, 4), ids=str)
def test_differences_and_anchors_by_a_loop(view: View) -> None:
    z = np.random.default_rng(0).standard_normal((5, L, D))
    season, future = 4, 7
    anchors = np.zeros((5, future, D))
    differences = []
    for step in range(L):
        base: Any = 0.0
        if view.anchor == "last":
            base = z[:, -1]
        elif view.anchor == "mean":
            base = z.mean(axis=1)
        elif view.anchor == "season":
            if step < season:
                continue
            base = z[:, step - season]
        differences.append(z[:, step] - base)
    for h in range(future):
        if view.anchor == "last":
            anchors[:, h] = z[:, -1]
        elif view.anchor == "mean":
            anchors[:, h] = z.mean(axis=1)
        elif view.anchor == "season":
            seen = h
            while seen >= 0:  # the latest of the same season that is seen
                seen -= season
            anchors[:, h] = z[:, L + seen]
    np.testing.assert_array_equal(view.differences(z), np.stack(differences, axis=1))
    np.testing.assert_array_equal(view.anchors(z, future), anchors)
    assert view.seen(L) == len(differences)


def test_a_season_needs_a_longer_window() -> None:
    assert {view.anchor for view in views(4, 4)} == {"zero", "last", "mean"}
    assert {view.anchor for view in views(5, 4)} == {"zero", "last", "mean", "season"}
    assert {view.anchor for view in views(5, 0)} == {"zero", "last", "mean"}
    assert str(View("season", True, 7)) == "differences over 7 steps, up and down alike"


# --- scales -------------------------------------------------------------------------------------


def of_targets(*series: Any) -> SeriesTable:
    """A table of one target."""
    parts = [np.asarray(each, float)[:, None] for each in series]
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in parts])])
    target, none = np.concatenate(parts), np.zeros((int(bounds[-1]), 0))
    segments = np.stack([bounds[:-1], bounds[1:]], axis=1)
    return SeriesTable(target, none, none, np.zeros((len(parts), 0)), bounds, segments)


@pytest.mark.parametrize("unit", [1.0, 1e12, 1e-12])
@pytest.mark.parametrize("log", [False, True])
def test_scales_and_back(unit: float, log: bool) -> None:
    y = unit * np.random.default_rng(0).exponential(size=30)
    y[3] = 0
    table = of_targets(y, 7 * y)
    scales = SeriesScales.measured(table, np.array([20, 60]), log)
    v = np.log(y / y[:20].mean() + 0.1) if log else y
    z = scales.scaled(table.target, table.series_of(np.arange(60)))
    np.testing.assert_allclose(z[:30, 0], (v - v[:20].mean()) / v[:20].std(), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(z[30:].std(), 1)
    back = scales.inverse(z, table.series_of(np.arange(60)))
    np.testing.assert_allclose(back, table.target, rtol=1e-12, atol=1e-13 * unit)
    assert (scales.inverse(np.full((1, 2, 1), 1e6), np.zeros(1, int)) > 0).all()
    assert np.isfinite(scales.inverse(np.full((1, 2, 1), 1e6), np.zeros(1, int))).all()


def test_what_does_not_vary_takes_its_spread_from_the_others() -> None:
    rng = np.random.default_rng(0)
    table = of_targets(np.full(9, 5.0), 3 * rng.standard_normal(9), rng.standard_normal(9), [1.0])
    scales = SeriesScales.measured(table, table.bounds[1:], False)
    stds = [table.target[9:18].std(), table.target[18:27].std()]
    np.testing.assert_allclose(scales.std[:, 0], [np.median(stds), *stds, np.median(stds)])
    assert scales.mean[0] == 5
    alone = SeriesScales.measured(of_targets(np.full(9, 1e12)), np.array([9]), False)
    assert alone.std[0] == 1
    zeros = of_targets(np.zeros(9), 1 + rng.random(9))
    logs = SeriesScales.measured(zeros, zeros.bounds[1:], True)
    assert logs.level[0] == logs.level[1]
    assert np.isfinite(logs.scaled(zeros.target, zeros.series_of(np.arange(18)))).all()
    none = SeriesScales.measured(zeros, np.array([0, 18]), False)  # no row before its end
    assert (none.mean[0], none.std[0]) == (0, none.std[1])


def test_forecasts_end_at_zero_where_zeros_are_no_chance() -> None:
    def least(y: Any) -> float:
        table = of_targets(y)
        scales = SeriesScales.measured(table, table.bounds[1:], False)
        return float(scales.inverse(np.full((1, 1, 1), -9.0), np.zeros(1, int)).item())

    sales = np.random.default_rng(0).poisson(2.0, 200)
    assert least(sales) == 0
    assert least(sales + 1) < 0
    assert least(sales - 1) < 0
    assert least(np.arange(300)) < 0  # zero once


def test_columns_of_zeros_and_ones_stay() -> None:
    columns = np.array([[0.0, 5, 2, np.nan], [1, 5, 4, 8], [1, 5, 6, 8]])
    scales = ColumnScales.measured(columns)
    np.testing.assert_allclose(scales.mean, [0, 5, 4, 8])
    np.testing.assert_allclose(scales.std, [1, 1, np.std([2, 4, 6]), 1])
    np.testing.assert_allclose(scales.scaled(columns)[:, 2], (columns[:, 2] - 4) / scales.std[2])


# --- ridge regression ---------------------------------------------------------------------------


def by_sklearn(scaled: ScaledTable, found: Windows, view: View, penalty: float) -> list[Any]:
    """Ridge of scikit-learn for each step, on the mirror images of windows too if alike."""
    lags, known = scaled.linear_inputs(found, view)
    wanted = scaled.wanted(found, view)
    fitted = []
    for h in range(found.future):
        x, y = np.concatenate([lags, known[:, h]], axis=1), wanted[:, h]
        if view.symmetric:
            x, y = np.concatenate([x, -x]), np.concatenate([y, -y])
        ridge = pytest.importorskip("sklearn.linear_model").Ridge(
            alpha=penalty * len(x), fit_intercept=not view.symmetric
        )
        fitted.append(ridge.fit(x, y))
    return fitted


@pytest.mark.parametrize("view", RIDGE, ids=str)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("block", [None, 200])
def test_the_linear_part_is_ridge_regression(
    view: View, known: bool, block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made()
    table = table if known else replace(table, known=table.known[:, :0])
    scaled, found = scaled_of(table), all_windows(table)
    if block is not None:
        monkeypatch.setattr(windows, "_BLOCK", block)
        assert len(list(found.blocks(scaled.width(found)))) > 5
    lags, ahead = scaled.linear_inputs(found, view)
    penalties = (1e-4, 0.03)
    parts = Moments.of(scaled, found, view, np.arange(H)).solved(penalties)
    for penalty, part in zip(penalties, parts, strict=True):
        said_ = part(lags, ahead)
        for h, ridge in enumerate(by_sklearn(scaled, found, view, penalty)):
            x = np.concatenate([lags, ahead[:, h]], axis=1)
            np.testing.assert_allclose(said_[:, h], ridge.predict(x), rtol=1e-7, atol=1e-9)
    some_steps = Moments.of(scaled, found, view, np.array([0, 2])).solved((0.03,))[0]
    np.testing.assert_allclose(some_steps.weights, parts[1].weights[[0, 2]], rtol=1e-9, atol=1e-12)


def test_what_the_linear_part_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made()
    scaled, found = scaled_of(table), all_windows(table)
    lags, known = scaled.linear_inputs(found, View("last", False, 0))
    m, rows = 20, np.arange(L) + found.starts[20]
    differences = scaled.z[rows] - scaled.z[rows[-1]]
    expected = [*differences.ravel(), *scaled.past[rows].ravel(), *scaled.static[0]]
    np.testing.assert_array_equal(lags[m], expected)
    np.testing.assert_array_equal(known[m], scaled.known[rows[-1] + 1 + np.arange(H)])
    monkeypatch.setattr("rnncore.estimators.forecasting.scaled_table._MOST_LAGS", 4 * (D + P))
    lags, known = scaled.linear_inputs(found, View("last", True, 0))
    expected = [*differences[-4:].ravel(), *scaled.past[rows[-4:]].ravel()]
    np.testing.assert_array_equal(lags[m], expected)
    assert known.shape == (len(found), H, 0)


def test_the_choice_is_that_of_the_validation_part() -> None:
    table = made()
    table = replace(table, target=np.abs(table.target))
    cuts = np.array([45, 90])
    train = windows_between(table, L, H, table.bounds[:-1], cuts)
    validation = windows_between(table, L, H, cuts, table.bounds[1:], L)
    candidates = [(scaled_of(table, log, cuts), view) for log in (False, True) for view in RIDGE]
    unit = candidates[0][0].scales.target.std
    spread = unit[validation.series][:, None]

    def error(z: Any, scaled: ScaledTable) -> float:
        return float(np.mean(np.abs(scaled.unscaled(z, validation) - validation.truth) / spread))

    expected = {}
    for scaled, view in candidates:
        lags, known = scaled.linear_inputs(validation, view)
        anchors = view.anchors(scaled.past_of(validation), H)
        errors: dict[float | None, float] = {None: error(anchors, scaled)}
        for penalty in linear.PENALTIES:
            steps = [
                ridge.predict(np.concatenate([lags, known[:, h]], axis=1))
                for h, ridge in enumerate(by_sklearn(scaled, train, view, penalty))
            ]
            errors[penalty] = error(anchors + np.stack(steps, axis=1), scaled)
        best = min(errors, key=lambda penalty: errors[penalty])
        expected[scaled.scales.target.log, view] = (best, errors[best])
    ranked = choose(candidates, train, validation, linear=True, unit=unit)
    handicap = [each.error * (1.02 if each.scaled.scales.target.log else 1.0) for each in ranked]
    assert handicap == sorted(handicap)
    for each in ranked:
        penalty, least = expected[each.scaled.scales.target.log, each.view]
        assert each.penalty == penalty
        assert each.error == pytest.approx(least, rel=1e-6)
    anchors_alone = choose(candidates, train, validation, linear=False, unit=unit)
    assert {each.penalty for each in anchors_alone} == {None}
    assert not anchors_alone[0].part(train).weights.any()


def test_older_lags_and_other_columns_count_less() -> None:
    scaled, found = scaled_of(made()), all_windows(made())
    plain = scaled.linear_inputs(found, View("last", False, 0))[0]
    lags = scaled.linear_inputs(found, View("last", False, 0, decay=0.5, others=0.3))[0]
    age = np.arange(L, 0, -1.0) ** -0.5
    factors = [*np.repeat(age, D), *np.repeat(0.3 * age, P)]
    np.testing.assert_allclose(lags[:, : L * (D + P)], plain[:, : L * (D + P)] * factors)
    np.testing.assert_array_equal(lags[:, L * (D + P) :], plain[:, L * (D + P) :])  # static
    shrinking = View("zero", False, 0).shrinking(others=True)
    assert [(v.decay, v.others) for v in shrinking] == [
        (0, 0.3),
        (0.5, 1),
        (0.5, 0.3),
        (1, 1),
        (1, 0.3),
    ]
    assert [v.decay for v in View("zero", False, 0).shrinking(others=False)] == [0.5, 1.0]


def test_simple_methods_by_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made()
    found = all_windows(table)
    season, rows = 2, found.starts + L  # the first row to forecast
    seasonal = seasonal_naive(found, season)
    for h in range(H):
        np.testing.assert_array_equal(naive(found)[:, h], table.target[rows - 1])
        back = h + season - h % season  # whole seasons, to a row that is seen
        np.testing.assert_array_equal(seasonal[:, h], table.target[rows + h - back])
    scaled = scaled_of(table)
    view, penalty = View("mean", False, 0), 1e-3
    ridge = Ridge.of(Choice(scaled, view, penalty, 0.0), found)
    lags, known = scaled.linear_inputs(found, view)
    steps = [
        each.predict(np.concatenate([lags, known[:, h]], axis=1))
        for h, each in enumerate(by_sklearn(scaled, found, view, penalty))
    ]
    z = view.anchors(scaled.past_of(found), H) + np.stack(steps, axis=1)
    mean, std = (getattr(scaled.scales.target, name)[found.series] for name in ("mean", "std"))
    expected = z * std[:, None] + mean[:, None]
    np.testing.assert_allclose(ridge.values(table, found), expected, rtol=1e-8)
    monkeypatch.setattr(windows, "_BLOCK", 100)
    np.testing.assert_allclose(ridge.values(table, found), expected, rtol=1e-8)
    none = ridge.values(table, found.take(slice(0, 0)))
    assert none.shape == (0, H, D)


# --- the network --------------------------------------------------------------------------------


def reading_of(scaled: ScaledTable, found: Windows, view: View, through: bool) -> Reading:
    part = Choice(scaled, view, 0.01, 0.0).part(found)
    return Reading.measured(scaled, found, view, part, through)


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("view", RIDGE, ids=str)
def test_samples_by_a_loop(through: bool, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    table = made()
    scaled, found = scaled_of(table), all_windows(table)
    reading = reading_of(scaled, found, view, through)
    monkeypatch.setattr(recurrent, "_MOST_STEPS", 5)
    samples = ResidualSamples(scaled, found, reading, np.dtype(np.float64))
    M = len(found)
    assert len(samples) == M * (1 + view.symmetric)
    assert samples.count == len(samples) * (H if through else 1)
    which = np.array([0, 30, M - 1, len(samples) - 1])
    batch = samples.take(which)
    for b, number in enumerate(which.tolist()):
        m, sign = number % M, 1 if number < M else -1
        rows = found.past_rows[m]
        differences = view.differences(scaled.z[rows][None])[0][-5:] / reading.difference_std
        steps = len(differences)
        static = scaled.static[found.series[m]]
        x = [
            [*(sign * differences[t]), *(sign * scaled.past[row]), *([0.0] if through else []),
             *scaled.known[row], *static]
            for t, row in enumerate(rows[-steps:])
        ]  # fmt: skip
        if through:
            x += [
                [0.0] * (D + P) + [1.0, *scaled.known[row], *static] for row in found.future_rows[m]
            ]
        np.testing.assert_array_equal(batch.x[b], x)
        lags, known = scaled.linear_inputs(found.take(slice(m, m + 1)), view)
        anchors = view.anchors(scaled.z[rows][None], H)
        rest = scaled.z[found.future_rows[m]] - anchors[0] - reading.linear(lags, known)[0]
        rest = sign * rest / reading.residual_std
        if through:
            assert batch.counted[b].tolist() == [False] * steps + [True] * H
            np.testing.assert_allclose(batch.y[b, steps:], rest, rtol=1e-10, atol=1e-12)
            assert not batch.y[b, :steps].any()
        else:
            np.testing.assert_allclose(batch.y[b], rest.ravel(), rtol=1e-10, atol=1e-12)
    every = samples.take(slice(None))
    asked = every.y[:, -H:] if through else every.y
    np.testing.assert_allclose(np.sqrt(np.mean(asked.reshape(-1, D) ** 2, axis=0)), 1)


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("levels", [(), (0.1, 0.5, 0.9)])
def test_a_new_network_says_nothing_but_quantiles(through: bool, levels: Any) -> None:
    table, view = made(), View("last", False, 0)
    scaled, found = scaled_of(table), all_windows(table)
    reading = reading_of(scaled, found, view, through)
    samples = ResidualSamples(scaled, found, reading, np.dtype(np.float32))
    width = reading.inputs(scaled, found.take(slice(0, 1)), np.float32).shape[2]
    model = build(samples, GRU(width, 3, rng=0), levels, "mean_squared_error", 0)
    values = predict_scaled(model, scaled, found, reading, max(1, len(levels)))
    lags, known = scaled.linear_inputs(found, view)
    base = view.anchors(scaled.past_of(found), H) + reading.linear(lags, known)
    if not levels:
        np.testing.assert_array_equal(values[..., 0], base)
        return
    rest = scaled.z[found.future_rows] - base
    axis = (0, 1) if through else 0
    expected = base[..., None] + np.moveaxis(np.quantile(rest, levels, axis=axis), 0, -1)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_step_by_step_is_a_loop_of_one_step() -> None:
    rng = np.random.default_rng(0)
    data = np.cumsum(rng.standard_normal((80, 2)), axis=0) + 50
    panel, options = panel_of(data, strategy="recursive", max_iter=4)
    fitted, _ = fit_panel(panel, options)
    table, own = fitted.table(panel.series)
    found = own.windows(table).take(slice(5, 60, 11))
    assert found.future == H
    values = own.values(table, found, None)
    one = replace(own.core, future=1, recursive=False)
    for m, start in enumerate(found.starts.tolist()):
        rows = data[start : start + L]
        for h in range(H):
            part = replace(table, target=np.concatenate([rows, np.full((1, 2), np.nan)]))
            part = replace(
                part, bounds=np.array([0, len(rows) + 1]), past=np.zeros((len(rows) + 1, 0)),
                known=np.zeros((len(rows) + 1, 0)), segments=np.array([[0, len(rows) + 1]]),
            )  # fmt: skip
            step = one.values(part, Windows(part, np.array([h]), L, 1))[0]
            rows = np.concatenate([rows, step])
            np.testing.assert_allclose(values[m, h], step[0], rtol=1e-6)


def test_nothing_is_known_of_steps_to_come_but_the_known_columns() -> None:
    """The table's target and past behind a window are never read."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((90, 3))
    data[:, 0] += data[:, 2]
    for extra in ({"past": 1, "future": 2}, {"future": [1, 2], "strategy": "recursive"}):
        panel, options = panel_of(data, target=0, **extra)
        fitted, _ = fit_panel(panel, options)
        table, own = fitted.table(panel.series)
        window = Windows(table, np.array([40]), L, H)
        before = own.values(table, window, 0.8)
        later = slice(40 + L, None)
        table.target[later] = 1e3
        table.past[later] = 1e3
        np.testing.assert_array_equal(own.values(table, window, 0.8), before)
        table.known[later] += 1
        assert (own.values(table, window, 0.8) != before).all()


@pytest.mark.parametrize("interval", ["residuals", "quantile"])
def test_intervals_are_made_of_the_errors_on_the_validation_part(
    interval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_MOST_REACH", 0)  # the linear part stays that of the scores
    y = np.random.default_rng(0).standard_normal(300)
    panel, options = panel_of(y, interval=interval, season=None)
    fitted, fit = fit_panel(panel, options)
    core = fitted.core
    scaled = ScaledTable.of(fitted.table(panel.series)[0], core.scales)
    cuts, ends = np.array([255]), np.array([300])
    share = 0.8 * 15 / 14  # 43 windows, 14 of them without a common step
    validation = windows_between(scaled.table, L, H, cuts, ends, L)
    z, truth = core.scaled_values(scaled, validation), scaled.z[validation.future_rows]
    ends_z = core.scaled_values(scaled, validation)[..., [0, -1]]
    if interval == "residuals":
        ends_z = ends_z + np.stack(
            [
                np.quantile(truth - z[..., 0], at, axis=0)
                for at in ((1 - share) / 2, (1 + share) / 2)
            ],
            axis=-1,
        )
    else:
        outside = np.maximum(z[..., 0] - truth, truth - z[..., 2])
        ends_z = ends_z + np.quantile(outside, share, axis=0)[..., None] * np.array([-1, 1])
    values = fitted.values(scaled.table, validation, 0.8)
    mean, std = core.scales.target.mean.item(), core.scales.target.std.item()
    np.testing.assert_allclose(values[..., [0, 2]], ends_z * std + mean, rtol=1e-6, atol=1e-9)
    errors = np.abs(values[..., 1] - validation.truth)
    assert fit.scores.error() == pytest.approx(errors.mean(), rel=1e-9)


@pytest.mark.parametrize("interval", ["residuals", "quantile"])
def test_few_errors_are_counted_together(interval: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_MOST_REACH", 0)
    panel, options = panel_of(
        np.random.default_rng(0).standard_normal(150), interval=interval, season=None
    )
    fitted, _ = fit_panel(panel, options)
    core = fitted.core
    scaled = ScaledTable.of(fitted.table(panel.series)[0], core.scales)
    validation = windows_between(scaled.table, L, H, np.array([128]), np.array([150]), L)
    z, truth = core.scaled_values(scaled, validation), scaled.z[validation.future_rows]
    for coverage, share in ((0.5, 0.5 * 7 / 6), (0.8, 0.8 * 7 / 6)):  # 20 windows, 6 apart
        if interval == "residuals":
            wanted = np.full((H, D - 1), np.quantile(np.abs(truth - z[..., 0]), share))
        else:
            outside = np.maximum(z[..., 0] - truth, truth - z[..., 2])
            wanted = np.full((H, D - 1), np.quantile(outside, share))
        level = (1 + coverage) / 2 if interval == "residuals" else coverage
        np.testing.assert_allclose(core.errors[round(200 * level) - 1], wanted)
    if interval == "residuals":
        np.testing.assert_allclose(core.errors, -core.errors[::-1])


@pytest.mark.filterwarnings("ignore:.*is better than the forecaster:UserWarning")
def test_intervals_of_short_series_hold_what_they_promise() -> None:
    held = []
    for seed in range(12):
        y = np.random.default_rng(seed).standard_normal(65).cumsum()
        learnt = RNNForecaster(5, 10, hidden_size=3, max_iter=2, random_state=0).fit(y[:60])
        _, low, high = learnt.predict_interval().T
        held.append(np.mean((low <= y[60:]) & (y[60:] <= high)))
    assert np.mean(held) >= 0.65


# --- leakage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [False, "auto"])
def test_scales_and_calendar_see_the_training_part_alone(log: Any) -> None:
    rng = np.random.default_rng(0)
    data = np.stack([5 + rng.random(100), rng.random(100), rng.random(100)], axis=1)
    other = data.copy()
    other[85:] = 1e6 * rng.random((15, 3))
    found = []
    for each in (data, other):
        panel, options = panel_of(each, target=0, past=1, future=2, log=log)
        fitted, fit = fit_panel(panel, options)
        found.append((fitted.ridge.scales, fit.core.reading.difference_std if log is False else 0))
    (one, _), (two, _) = found
    assert one.to_dict().keys() == {"target", "past", "known", "static"}
    np.testing.assert_array_equal(one.target.mean, two.target.mean)
    np.testing.assert_array_equal(one.target.std, two.target.std)
    for name in ("past", "known"):
        for part in ("mean", "std"):
            values = (getattr(getattr(each, name), part) for each in (one, two))
            np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(one.target.mean, data[:85, :1].mean(axis=0)[None])


@pytest.mark.parametrize("recursive", [False, True])
def test_the_validation_part_chooses_and_the_training_part_is_fitted(
    recursive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def spy(candidates: Any, train: Any, validation: Any, **options: Any) -> Any:
        seen.append([part.future_rows for part in (train, validation)])
        return choose(candidates, train, validation, **options)

    monkeypatch.setattr(fitting, "choose", spy)
    data = np.random.default_rng(0).random((100, 1))
    strategy = "recursive" if recursive else "direct"
    panel, options = panel_of(data, strategy=strategy)
    fit_panel(panel, options)
    assert len(seen) == 2 + recursive
    for train, validation in seen:
        assert (train.min(), train.max()) == (L, 84)
        assert (validation.min(), validation.max()) == (85, 99)


# --- series -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freq", "season", "window"),
    [("h", 24, 168), ("15min", 96, 672), ("min", 1440, 2880), ("5min", 288, 864), ("s", 0, 30),
     ("D", 7, 28), ("B", 5, 30), ("W", 0, 30), ("M", 12, 24), ("Q", 4, 8), ("Y", 0, 30),
     ("7h", 0, 30), ("2D", 0, 30), (1, 0, 30)],
)  # fmt: skip
def test_seasons_and_windows(freq: Any, season: int, window: int) -> None:
    frequency = parse(freq)
    assert season_of(frequency) == season
    assert window_of(frequency, 2, season, 10**6) == window
    assert window_of(frequency, 5000, season, 10**6) == 10000
    assert window_of(frequency, 2, season, 12) == {7: 8, 5: 6}.get(season, 5)
    assert window_of(frequency, 2, season, 2) == 1


def test_cut_tail_and_joined() -> None:
    data = np.stack([np.arange(30.0), np.arange(30.0) + 100], axis=1)
    data[10, 0] = np.nan
    panel, _ = panel_of(data, target=0, future=1, irregular="repair")
    series = panel.series[0]
    assert series.segments == [(0, 10), (11, 30)]
    first = cut(series, 20)
    assert first.segments == [(0, 10), (11, 20)]
    assert first.target[:, 0].tolist()[11:] == list(range(11, 20))
    assert first.ahead.future[:, 0].tolist() == list(range(120, 130))
    assert first.ahead.step.tolist() == list(range(20, 30))
    last = tail(series, 22)
    assert last.segments == [(0, 2), (3, 22)]
    assert last.step.tolist() == list(range(8, 30))
    later = replace(tail(series, 10), segments=[(0, 10)])
    both = joined(tail(first, 12), later, panel.frequency)
    assert both.segments == [(0, 2), (3, 22)]
    np.testing.assert_array_equal(both.target, last.target)
    np.testing.assert_array_equal(both.times.values, last.times.values)
    assert joined(cut(series, 19), later, panel.frequency) is later  # a step is missing between
    assert joined(None, later, panel.frequency) is later


@pytest.mark.parametrize(
    ("freq", "start", "goes_on", "does_not"),
    [("W-MON", "2020-01-06", "2020-02-10", "2020-02-11"),
     ("2D", "2020-01-01", "2020-01-11", "2020-01-12"),
     ("ME", "2020-01-31", "2020-06-30", "2020-06-01"),
     ("2h", "2020-01-01 00:00", "2020-01-01 10:00", "2020-01-01 11:00")],
)  # fmt: skip
def test_what_begins_on_another_day_does_not_go_on(
    freq: str, start: str, goes_on: str, does_not: str
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    step = {"W-MON": "7D"}.get(freq, freq)

    def read(first: str, frequency: Any) -> Any:
        stamps = pandas.date_range(first, periods=5, freq={"2020-06-01": "MS"}.get(first, step))
        return read_panel(pandas.DataFrame({"ds": stamps, "y": 1.0}), freq=frequency)

    known = read(start, None)
    for first, count in ((goes_on, 10), (does_not, 5)):
        later = read(first, known.frequency).series[0]
        assert later.step[0] == known.series[0].step[-1] + 1  # numbers alone do not tell
        assert len(joined(known.series[0], later, known.frequency)) == count


# --- scores -------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    truth = np.array([[[1.0, 10], [2, 20]], [[3, 30], [4, 40]]])
    forecasts = {"forecaster": truth + np.array([1.0, -2]), "naive": truth + np.array([3.0, 0])}
    scores = ForecastScores.of("test data", ["a", "b"], truth, forecasts)
    assert scores.windows == 2
    assert [tuple(row.values()) for row in scores.rows] == [
        ("a", "forecaster", 1, 1), ("a", "naive", 3, 3),
        ("b", "forecaster", 2, 2), ("b", "naive", 0, 0),
    ]  # fmt: skip
    assert (scores.error(), scores.error("naive"), scores.error(target="b")) == (1, 3, 2)
    assert scores.better == [
        "naive is better than the forecaster for 'b': mean absolute error 0, not 2"
    ]
    assert repr(scores).splitlines()[0] == (
        "test data, 2 forecasts: mean absolute, root mean square error"
    )
    with pytest.warns(UserWarning, match="^test data: naive is better than the forecaster"):
        scores.warn()
    with raises(ValueError, "method, target: expected one of the scores, got 'best', 'a'"):
        scores.error("best")
    assert scores.to_html().count("<tr>") == 5


def test_r_squared_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((20, H, D))
    forecasts = truth + 0.3 * rng.standard_normal(truth.shape)
    truth[..., 1] = 4
    flat = truth.reshape(-1, D), forecasts.reshape(-1, D)
    assert r_squared(truth, forecasts) == pytest.approx(metrics.r2_score(*flat))
    assert r_squared(truth, truth) == 1


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [False, True])
def test_forecasts_stay_within_reach_of_what_a_window_sees(log: bool) -> None:
    y = np.append(1 + np.random.default_rng(0).random(60), [500.0, 1, 1, 2, 900, 2, 4, 1, 2, 3])
    scaled = scaled_of(of_targets(y), log)
    found = all_windows(scaled.table)
    low, high = scaled.limits(found)
    for m, start in enumerate(found.starts.tolist()):
        seen = scaled.z[start : start + L, 0]
        reach = (1 if log else 100) * max(seen.max() - seen.min(), 3)
        assert low[m].item() == seen.min() - reach
        assert high[m].item() == seen.max() + reach
    panel, options = panel_of(y, strategy="recursive" if log else "direct", log=log)
    fitted, fit = fit_panel(panel, options)
    fit.core.reading.linear.bias[...] = 1e9
    table, own = fitted.table(panel.series)
    far = own.windows(table)
    z = own.core.scaled_values(ScaledTable.of(table, own.core.scales), far)
    assert z.max() < 1e6
    values = own.values(table, far, 0.8)
    np.testing.assert_array_equal(values[..., 1], own.values(table, far, None))
    assert (np.diff(values, axis=-1) >= 0).all()
