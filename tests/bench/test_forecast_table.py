"""The table of docs/forecasting.md: its data, ridge by hand, what it says of wins and losses."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.once

pd = pytest.importorskip("pandas", reason="the tables are pandas'")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench/ is not part of the package

from bench import forecast_data, forecast_ridge, forecast_table  # noqa: E402
from bench.forecast_data import Problem, cut  # noqa: E402
from bench.forecast_table import BY_HAND, OWN, RIDGE, Scores  # noqa: E402


def small(**columns: Any) -> Problem:
    """Two groups of days with a gap each; what comes follows from 4 days and a column ahead."""
    frames = []
    for group, level in (("a", 5.0), ("b", 90.0)):
        rng = np.random.default_rng(len(frames))
        ahead, y = rng.standard_normal(160), np.zeros(160)
        for t in range(2, 160):
            y[t] = 1.2 * y[t - 1] - 0.8 * y[t - 2] + ahead[t]
        day = pd.date_range("2024-01-01", periods=160)
        frame = pd.DataFrame({"day": day, "group": group, "y": level + y, "ahead": ahead})
        frames.append(frame.drop(index=range(50, 53)))
    roles = {
        "time": "day", "target": "y", "group": "group", "future": "ahead", "irregular": "repair",
    }  # fmt: skip
    frame = pd.concat(frames).sample(frac=1, random_state=0).reset_index(drop=True)
    return Problem("small", "m", frame.assign(**columns), 1, roles)


def test_sales_are_three_shops_with_gaps_in_no_order() -> None:
    problem = forecast_data.sales()
    series = problem.series()
    assert sorted(series) == ["north", "south", "west"]
    assert not problem.frame["day"].is_monotonic_increasing
    for own in series.values():
        days = own["day"].diff().dropna().dt.days
        assert (days > 1).sum() == 3
        assert 3 <= days[days > 1].min() <= days.max() <= 9
    north = series["north"].set_index("day")
    for column, least, most in (("holiday", 0.3, 0.5), ("promo", 1.2, 1.5)):
        mean = north.groupby(column)["sales"].mean()
        assert least < mean.loc[True] / mean.loc[False] < most


def test_the_parts_share_nothing_but_what_is_looked_back_at() -> None:
    problem = small()
    seen, test = problem.fitting_part(), problem.test_part(10)
    assert len(seen) == sum(cut(len(own)) for own in problem.series().values())
    for name, own in test.groupby("group"):
        early = seen[seen["group"] == name]
        assert own["day"].is_monotonic_increasing
        assert (own["day"] <= early["day"].max()).sum() == 10
        assert len(own) - 10 == len(problem.series()[name]) - len(early)


def test_ridge_by_hand_finds_what_is_linear_and_crosses_no_gap() -> None:
    problem = small()
    truth, said = forecast_ridge.forecasts(problem, 4)
    assert truth.shape == (2 * round(0.15 * 157), 1)
    np.testing.assert_allclose(said, truth, atol=1e-3)
    late = problem.frame["day"] > "2024-05-01"  # a gap inside the test part, of 2 days
    gap = problem.frame["day"].isin(pd.to_datetime(["2024-05-27", "2024-05-28"]))
    assert late.any()
    assert gap.sum() == 4
    cut_out = Problem("small", "m", problem.frame[~gap], 1, problem.roles)
    truth, said = forecast_ridge.forecasts(cut_out, 4)
    assert len(truth) == 2 * (round(0.15 * 155) - 4)
    np.testing.assert_allclose(said, truth, atol=1e-3)


def test_ridge_by_hand_is_scikit_learns() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 6)) * [1, 10, 100, 1, 2, 3] + 5, rng.standard_normal(40)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    functions = forecast_ridge._ridges(x, y)
    for penalty, function in zip(forecast_ridge.PENALTIES, functions, strict=True):
        ridge = linear_model.Ridge(alpha=40 * penalty).fit(scaled, y)
        np.testing.assert_allclose(function(x), ridge.predict(scaled), rtol=1e-8, atol=1e-8)


def test_ridge_by_hand_does_not_know_what_comes_later() -> None:
    problem = small()
    early = forecast_ridge.forecasts(problem, 4)[1]
    last = problem.frame["day"] == problem.frame["day"].max()
    changed = problem.frame.assign(y=problem.frame["y"].where(~last, 1e6))
    late = forecast_ridge.forecasts(Problem("small", "m", changed, 1, problem.roles), 4)[1]
    np.testing.assert_array_equal(early, late)


def test_all_methods_are_scored_on_the_same_windows() -> None:
    result = forecast_table.scores_of(small(), seeds=1)
    assert result.windows == 2 * round(0.15 * 157)
    assert set(result.errors) == {OWN, "naive", "seasonal naive", RIDGE, BY_HAND}
    problem = result.problem
    changes = [
        own["y"].diff().to_numpy()[cut(len(own)) :] for own in problem.series().values()
    ]  # fmt: skip
    naive = np.abs(np.concatenate(changes)).mean()
    assert result.errors["naive"][0][0] == pytest.approx(naive)
    assert result.mean(BY_HAND, 0) < 1e-3
    share, *groups = result.covered[0]
    assert 0.5 < share < 1
    assert len(groups) == 2
    assert np.mean(groups) == pytest.approx(share)  # as many windows in each
    assert result.seconds[0] > 0


def scores(name: str, own: float, ridge: float) -> Scores:
    problem = Problem(name, "m", pd.DataFrame(), 1, {})
    errors = {OWN: [(own - 0.1, own), (own + 0.1, own)], RIDGE: [(ridge, 2 * ridge)]}
    return Scores(
        problem, 1234, errors, [np.array([0.7, 0.5, 1])] * 2, [1.0, 2.0], f"{name}: all zeros"
    )


def test_the_table_has_means_with_their_range_and_says_who_wins() -> None:
    results = [scores("a", 0.9, 1.0), scores("b", 1.0, 1.0), scores("c", 1.2, 1.0)]
    text = forecast_table.table(results)
    assert "| **a**, m | **forecaster** | 0.9000 (0.8000 to 1.000) | 0.9000 (0.9000 to " in text
    assert "|  | ridge regression | 1.000 | 2.000 | 1.200 |" in text
    assert "| b | 1,234 | 70% | 50% to 100% | 1.5 |" in forecast_table.intervals(results)
    said = forecast_table.verdict(results)
    assert "- Better than ridge regression: a (-10.0%)" in said
    assert "- As good as ridge regression: b (+0.0%)" in said
    assert "- Worse than ridge regression: c (+20.0%)" in said


@pytest.mark.parametrize(
    ("errors", "kept"),
    [((0.9, 0.9, 1.04), True), ((0.9, 0.9, 1.06), False), ((0.9, 1.0, 1.0), False)],
)
def test_the_rule_is_no_big_loss_and_two_wins(errors: tuple[float, ...], kept: bool) -> None:
    said = forecast_table.verdict([scores(str(i), error, 1.0) for i, error in enumerate(errors)])
    assert ("is kept" in " ".join(said.split())) == kept


def test_the_page_is_filled_between_its_marks() -> None:
    page = (ROOT / "docs" / "forecasting.md").read_text()
    before, _, rest = page.partition("<!-- results -->\n")
    filled = forecast_table.filled(page, [scores("a", 0.9, 1.0)], 2)
    assert filled.startswith(before)
    assert filled.endswith(rest.partition("<!-- end of results -->")[2])
    assert "- a: all zeros.\n" in filled
    with pytest.raises(ValueError, match="expected the marks"):
        forecast_table.filled("nothing", [scores("a", 0.9, 1.0)], 2)


def test_the_page_has_a_row_for_every_problem() -> None:
    found = re.findall(
        r"^\| \*\*([\w-]+)\*\*, ", (ROOT / "docs" / "forecasting.md").read_text(), re.MULTILINE
    )
    assert found == ["sf-temps", "seattle-weather", "stocks", "sales"]
