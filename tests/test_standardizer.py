"""Standardizer: what it measures, what counts as constant, columns, and files."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rnncore import data
from rnncore.data import Standardizer

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((200, 3)) * [1, 10, 0.1] + [5, -3, 200]


def fitted() -> Standardizer:
    return Standardizer().fit(TABLE)


def test_it_measures_the_training_part_alone() -> None:
    series = TABLE * [1, 1, 0]
    scaler = Standardizer().fit(series[:100])
    z = scaler.transform(series)
    np.testing.assert_allclose(z[:100].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z[:100].std(0), [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(scaler.inverse(z, "all"), series, rtol=1e-12)
    assert abs(z[100:, 0].mean()) > 1e-6


def test_it_keeps_the_dtype_and_takes_one_dimension() -> None:
    x = np.arange(17, dtype=np.float32)
    scaler = Standardizer().fit(x)
    assert scaler.transform(x).dtype == np.float32
    assert scaler.inverse(x).dtype == np.float32
    np.testing.assert_allclose(scaler.transform(x).std(), 1, rtol=1e-6)
    assert scaler.transform(x[:, None] * np.ones((1, 4))).shape == (17, 4)
    assert scaler.inverse(0.0) == 8


# --- constant columns ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("length", [3, 10, 1000, 54321])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, -273.15, 1e-5, 60000.1])
def test_a_constant_has_spread_one(constant: float, length: int, dtype: Any) -> None:
    x = np.full(length, constant, dtype)
    for values in (x, x[:, None], np.stack([x, x[::-1]], axis=1), x[None, :, None]):
        scaler = Standardizer().fit(values)
        np.testing.assert_array_equal(scaler.std, 1)
        np.testing.assert_array_equal(scaler.mean, np.float64(x[0]))
        np.testing.assert_array_equal(scaler.transform(values), 0)
        np.testing.assert_array_equal(scaler.inverse(scaler.transform(values), "all"), values)
    moved = Standardizer().fit(x).transform(np.float64(x[0]) + np.arange(3.0))
    np.testing.assert_allclose(moved, np.arange(3), rtol=1e-10)


@pytest.mark.parametrize(
    ("x", "constant"),
    [
        ([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2], True),  # two neighbours in float64
        (np.float32([1e6, 1e6 + 0.0625] * 9), True),
        (np.float32([1e6, 1e6 + 1] * 9), False),
        (1e9 + np.arange(9) * 1e-6, False),  # times in microseconds
        ([1e-20, -1e-20], False),  # around zero any spread is one
        ([5e-324, 5e-324], True),
        ([2**60, 2**60 + 1], True),  # as float64 the same
        ([7, 7, 8], False),
        ([True, True], True),
    ],
    ids=str,
)
def test_a_spread_below_rounding_is_none(x: Any, constant: bool) -> None:
    scaler = Standardizer().fit(x)
    assert (scaler.std == 1) == constant
    if not constant:
        np.testing.assert_allclose(
            scaler.std, float(np.std(np.asarray(x, np.longdouble))), rtol=1e-6
        )


def test_moments_are_exact_beside_a_large_offset() -> None:
    x = RNG.standard_normal((100_000, 2)) + np.array([1e9, 0])
    scaler = Standardizer().fit(x)
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose(scaler.mean, exact.mean(0).astype(float), rtol=1e-15, atol=1e-14)
    np.testing.assert_allclose(scaler.std, exact.std(0).astype(float), rtol=1e-12)


def test_fit_over_windows_makes_no_copy_of_them() -> None:
    series = RNG.standard_normal((20_000, 2))
    x, _ = data.windows(series, 500, 1)
    tracemalloc.start()
    scaler = Standardizer().fit(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10
    np.testing.assert_allclose(scaler.mean, x.mean(axis=(0, 1)), atol=1e-12)
    np.testing.assert_allclose(scaler.std, x.std(axis=(0, 1)), rtol=1e-11)


# --- booleans and objects -----------------------------------------------------------------------


def test_booleans_are_zero_and_one() -> None:
    flags = np.array([True, False, False, True])
    scaler = Standardizer().fit(flags)
    assert (scaler.mean, scaler.std) == (0.5, 0.5)
    z = scaler.transform(flags)
    assert z.dtype == np.float64
    np.testing.assert_array_equal(z, [1, -1, -1, 1])


def test_data_frames_with_a_column_of_booleans() -> None:
    pandas = pytest.importorskip("pandas", reason="data frames: pandas is not installed")
    frame = pandas.DataFrame({"t": [1.5, 2.5, 3.5, 0.5], "rain": [True, False, False, True]})
    assert np.asarray(frame).dtype == object
    scaler = Standardizer().fit(frame)
    np.testing.assert_allclose(scaler.mean, [2, 0.5])
    np.testing.assert_array_equal(scaler.transform(frame)[:, 1], [1, -1, -1, 1])
    frame["name"] = "a"
    with pytest.raises(TypeError, match=r"^x: expected real numbers, got dtype object"):
        scaler.fit(frame)
    np.testing.assert_allclose(scaler.mean, [2, 0.5])  # as it was


# --- columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("future", [1, 2, 3, 4])  # 3: as many steps as columns
@pytest.mark.parametrize("column", [0, 1, 2, -1])
def test_a_forecast_of_one_column_comes_back_in_its_unit(future: int, column: int) -> None:
    scaler = fitted()
    z = scaler.transform(TABLE)
    _, y = data.windows(z, 7, future)
    _, wanted = data.windows(TABLE, 7, future)
    with pytest.raises(ValueError, match=r"^columns: expected which of the 3 columns"):
        scaler.inverse(y[..., column])
    np.testing.assert_allclose(scaler.inverse(y[..., column], column), wanted[..., column])
    np.testing.assert_allclose(scaler.inverse(y, "all"), wanted)
    np.testing.assert_allclose(scaler.transform(wanted[..., column], column), y[..., column])
    one = Standardizer().fit(TABLE[:, column])
    np.testing.assert_allclose(one.inverse(y[..., column]), wanted[..., column])
    one = Standardizer().fit(TABLE[:, [column]])
    np.testing.assert_allclose(one.inverse(y[..., column]), wanted[..., column])


@pytest.mark.parametrize("columns", [[0], [2, 0], [1, 1], (0, 1, 2), np.array([2, 1])])
def test_some_columns_are_named_in_their_order(columns: Any) -> None:
    scaler = fitted()
    z = scaler.transform(TABLE)[:, list(columns)]
    np.testing.assert_allclose(scaler.inverse(z, columns), TABLE[:, list(columns)])
    np.testing.assert_allclose(scaler.transform(TABLE[:, list(columns)], columns), z)
    with pytest.raises(ValueError, match=r"^z: expected shape \(\.\.\., F\)"):
        scaler.inverse(np.zeros((4, len(columns) + 1)), columns)


@pytest.mark.parametrize(
    ("columns", "error", "text"),
    [
        (None, ValueError, "columns: expected which of the 3 columns"),
        ("t", ValueError, "columns: expected which of the 3 columns"),
        (3, ValueError, "columns: expected an integer in [-3, 2], got 3"),
        (1.0, TypeError, "columns: expected an integer, got 1.0"),
        (True, TypeError, "columns: expected an integer, got True"),
        ([0, 3], ValueError, "columns[1]: expected an integer in [-3, 2], got 3"),
        ([0, None], TypeError, "columns[1]: expected an integer, got None"),
        ("all", ValueError, "z: expected shape (..., F) = (..., 3), got (4, 2)"),
    ],
)
def test_columns_that_are_none_are_named(columns: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(text)}"):
        fitted().inverse(np.zeros((4, 2)), columns)


# --- scikit-learn's names, repr, files ----------------------------------------------------------


def test_names_of_scikit_learn() -> None:
    scaler = Standardizer()
    assert not hasattr(scaler, "mean_")
    z = scaler.fit_transform(TABLE)
    np.testing.assert_array_equal(z, scaler.transform(TABLE))
    np.testing.assert_array_equal(scaler.inverse_transform(z), scaler.inverse(z, "all"))
    assert scaler.mean_ is scaler.mean
    assert scaler.scale_ is scaler.std
    assert scaler.n_features_in_ == 3
    assert Standardizer().fit([1, 2]).n_features_in_ == 1


def test_repr_says_what_was_measured() -> None:
    assert repr(Standardizer()) == "Standardizer(not fitted)"
    assert repr(Standardizer().fit([1.0, 3.0])) == "Standardizer(mean 2., std 1.)"
    scaler = Standardizer().fit([[1, 5.12345], [3, 5.12345]])
    assert repr(scaler) == "Standardizer(2 columns: mean [2.    , 5.1235], std [1., 1.])"
    wide = Standardizer().fit(np.arange(40.0).reshape(2, 20))
    assert repr(wide) == "Standardizer(20 columns: mean [10., 11., ..., 28., 29.], std " + (
        "[10., 10., ..., 10., 10.])"
    )


@pytest.mark.parametrize("x", [TABLE, TABLE[:, 0], TABLE[:, :1]], ids=["F", "1-D", "one"])
def test_a_state_comes_back_from_a_file(x: Any, tmp_path: Path) -> None:
    scaler = Standardizer().fit(x)
    np.savez(tmp_path / "scaler.npz", **scaler.state_dict())
    with np.load(tmp_path / "scaler.npz") as state:
        again = Standardizer.from_state_dict(state)
    for name in ("mean", "std"):
        assert getattr(again, name).shape == getattr(scaler, name).shape
    np.testing.assert_array_equal(again.transform(x), scaler.transform(x))
    again.mean[...] = 0
    assert scaler.mean.any()
    scaler.state_dict()["std"][...] = 9
    np.testing.assert_allclose(scaler.transform(x).std(axis=0), 1)


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        ([], TypeError, "state: expected a mapping, got list"),
        ({"mean": [1]}, KeyError, "state: expected 'mean' and 'std', got ['mean']"),
        ({"mean": [1], "std": [1], "x": 1}, KeyError, "state: expected 'mean' and 'std', got"),
        ({"mean": ["a"], "std": [1]}, TypeError, "mean: expected real numbers, got dtype <U1"),
        ({"mean": [np.nan], "std": [1]}, ValueError, "mean: expected finite numbers"),
        ({"mean": [[1]], "std": [[1]]}, ValueError, "mean: expected finite numbers () or (F,)"),
        ({"mean": [], "std": []}, ValueError, "mean: expected finite numbers"),
        ({"mean": [1], "std": [0]}, ValueError, "std: expected positive numbers (1,)"),
        ({"mean": [1], "std": [1, 2]}, ValueError, "std: expected positive numbers (1,)"),
    ],
)
def test_a_state_that_was_not_measured_is_refused(state: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        Standardizer.from_state_dict(state)


def test_what_is_wrong_is_named() -> None:
    for call in (lambda s: s.transform([1.0]), lambda s: s.inverse([1.0]), Standardizer.state_dict):
        with pytest.raises(ValueError, match="call fit"):
            call(Standardizer())
    scaler = fitted()
    mean = scaler.mean
    for wrong in ([1.0, np.nan], [np.inf, 1.0], [1e200, -1e200], [-np.inf, np.inf]):
        with pytest.raises(ValueError, match=r"^x: expected finite numbers"):
            scaler.fit(wrong)
    for wrong in (["a"], [1j], np.zeros(3, "M8[s]"), np.array(None)):
        with pytest.raises(TypeError, match=r"^x: expected real numbers"):
            scaler.fit(wrong)
    for wrong in (np.zeros((0, 2)), 5.0, [], np.zeros((2, 0))):
        with pytest.raises(ValueError, match=r"^x: expected at least one sample"):
            scaler.fit(wrong)
    with pytest.raises(ValueError, match=r"^x: expected no masked elements"):
        scaler.fit(np.ma.masked_equal([1, 2], 2))
    assert scaler.mean is mean
    with pytest.raises(ValueError, match=r"^x: expected .*F\) = \(\.\.\., 3\), got \(5, 2\)"):
        scaler.transform(np.zeros((5, 2)))
