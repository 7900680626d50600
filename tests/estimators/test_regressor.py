"""RNNRegressor: numbers for each sequence, in the caller's unit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from errors import raises
from labelled import ragged
from rnncore.estimators import RNNRegressor

pytestmark = pytest.mark.once


def small(**options: Any) -> RNNRegressor:
    return RNNRegressor(8, **{"max_iter": 60, "random_state": 0} | options)


def sums(n: int = 120) -> tuple[Any, Any]:
    x = ragged(n)[0]
    return x, np.array([1e4 + 300 * a[-1].sum() for a in x])


def test_it_learns_numbers_far_from_zero() -> None:
    x, y = sums()
    fitted = small().fit(x[:90], y[:90])
    predicted = fitted.predict(x[90:])
    assert predicted.shape == (30,)
    assert predicted.dtype == np.float32
    r2 = 1 - ((predicted - y[90:]) ** 2).sum() / ((y[90:] - y[90:].mean()) ** 2).sum()
    assert r2 > 0.9
    assert fitted.score(x[90:], y[90:]) == pytest.approx(r2, rel=1e-5)
    assert fitted.target_scaler_.mean == pytest.approx(y[:90].mean())
    z = fitted.model_.predict([fitted.scaler_.transform(a).astype(np.float32) for a in x[90:]])
    expected = z[:, 0] * y[:90].std() + y[:90].mean()
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


def test_several_outputs_each_have_a_scale() -> None:
    x, y = sums()
    both = np.column_stack([y, -1e-3 * y + 1e-3 * np.arange(120) % 7])
    fitted = small().fit(x, both)
    assert fitted.predict(x).shape == (120, 2)
    predicted = fitted.predict(x).astype(np.float64)
    deviations = ((both - both.mean(axis=0)) ** 2).sum(axis=0)
    each = 1 - ((both - predicted) ** 2).sum(axis=0) / deviations
    assert fitted.score(x, both) == pytest.approx(each.mean(), rel=1e-4)
    assert each.min() > 0.8
    with raises(ValueError, "y: expected 2 number(s) each, got shape (120,)"):
        fitted.partial_fit(x, y)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        ("squared_error", lambda d: d**2),
        ("absolute_error", np.abs),
        ("huber", lambda d: np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5)),
    ],
)
def test_the_loss_is_that_of_scaled_numbers(loss: str, value: Any) -> None:
    x, y = sums(40)
    weight = np.arange(40.0)
    options: Any = {"max_iter": 1, "batch_size": 40, "dtype": np.float64, "learning_rate": 1e-12}
    fitted = small(loss=loss, **options).fit(x, y, weight)
    mean = np.average(y, weights=weight)
    std = np.sqrt(np.average((y - mean) ** 2, weights=weight))
    errors = value((fitted.predict(x) - y) / std)
    assert fitted.target_scaler_.std == pytest.approx(std)
    assert fitted.loss_ == pytest.approx(np.average(errors, weights=weight), rel=1e-7)


def test_without_scaling_numbers_stay() -> None:
    x, y = sums(40)
    y = (y - 1e4) / 300
    fitted = small(scale=False, max_iter=2).fit(x, y)
    assert fitted.scaler_ is None
    assert fitted.target_scaler_ is None
    np.testing.assert_array_equal(
        fitted.predict(x), fitted.model_.predict([a.astype(np.float32) for a in x])[:, 0]
    )


def test_early_stopping_scores_r2_and_measures_no_target_of_that_part() -> None:
    x, y = sums()
    fitted = small(early_stopping=True).fit(x, y)
    assert fitted.best_validation_score_ == max(fitted.validation_scores_) > 0.8
    moved = 0
    for i in range(0, 120, 4):
        other = y.copy()
        other[i] += 1e6
        once = small(early_stopping=True, max_iter=1).fit(x, other)
        moved += bool((once.target_scaler_.mean != fitted.target_scaler_.mean).any())
    assert 20 < moved < 30  # 12 of 120 are held out


def test_files_and_pickles_give_the_same_bits(tmp_path: Any) -> None:
    x, y = sums()
    fitted = small(max_iter=5).fit(x, y)
    fitted.save(tmp_path / "sums.safetensors")
    for again in (
        pickle.loads(pickle.dumps(fitted)),
        RNNRegressor.load(tmp_path / "sums.safetensors"),
    ):
        np.testing.assert_array_equal(again.predict(x), fitted.predict(x))


def test_wrong_numbers_are_named() -> None:
    x, y = sums(6)
    for value in (np.nan, np.inf):
        other = y.copy()
        other[2] = value
        with raises(ValueError, f"y: expected finite numbers, got {value} at index 2"):
            small().fit(x, other)
    with raises(TypeError, "y: expected real numbers, got dtype <U1"):
        small().fit(x, list("abcdef"))
    with raises(ValueError, "y: expected shape (n,) or (n, O), got (6, 1, 1)"):
        small().fit(x, y[:, None, None])
    with raises(ValueError, "loss: expected one of 'squared_error', 'absolute_error', 'huber', "
                "got 'mse'"):  # fmt: skip
        small(loss="mse").fit(x, y)
