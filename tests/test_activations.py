"""tanh and the logistic function of the kernels, seen through cells whose sums are exact."""

from __future__ import annotations

import numpy as np
import pytest
from rnncore import _isa

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
SPECIAL = [0.0, np.nan, 1e30, -1e30, 100.0, -100.0, 20.0, -20.0]


def run(core, cell, gates, column, h_0, z):
    """y of one step of one unit per row; W has a single one, so the pre-activation is z itself."""
    dtype, n = z.dtype, len(z)
    weight_ih = np.zeros((gates, 1), dtype)
    weight_ih[column] = 1
    y = np.full((1, n, 1), np.nan, dtype)
    core.forward(
        cell, z.reshape(1, n, 1), np.full((n, 1), h_0, dtype), None, weight_ih,
        np.zeros((gates, 1), dtype), None, None, None, False, y, np.empty((n, 1), dtype), None,
        None, None, None,
    )  # fmt: skip
    return y.ravel()


def tanh(core, z):
    return run(core, "rnn_tanh", 1, 0, 0, z)


def logistic(core, z):
    return run(core, "gru", 3, 1, 1, z)  # n = tanh(0) = 0 and h_prev = 1: h = u


def exact_logistic(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def arguments(dtype, largest):
    """Normal numbers of every size up to `largest`, of both signs."""
    rng = np.random.default_rng(0)
    small = 2.0 ** rng.uniform(-40, np.log2(largest), 60_000)
    even = rng.uniform(0, 12, 60_000)
    return (np.concatenate([small, even]) * rng.choice([-1, 1], 120_000)).astype(dtype)


@every_isa
@pytest.mark.parametrize(
    ("function", "exact", "float32_ulps", "float64_ulps"),
    [(tanh, np.tanh, 1.5, 9), (logistic, exact_logistic, 2.5, 3)],
    ids=["tanh", "logistic"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_error_in_units_in_the_last_place(core, function, exact, float32_ulps, float64_ulps, dtype):
    z = arguments(dtype, 80)
    expected = exact(z.astype(np.longdouble))
    got = function(core, z)
    ulps = np.abs(got - expected) / np.spacing(np.abs(expected).astype(dtype))
    assert ulps.max() <= (float32_ulps if dtype is np.float32 else float64_ulps), z[ulps.argmax()]


@every_isa
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_saturation_and_nan(core, dtype):
    z = np.array(SPECIAL, dtype)
    finite = ~np.isnan(z)
    assert np.isnan(tanh(core, z)[~finite]).all()
    assert np.isnan(logistic(core, z)[~finite]).all()
    np.testing.assert_array_equal(tanh(core, z)[finite], np.tanh(z[finite]))
    np.testing.assert_allclose(logistic(core, z)[finite], exact_logistic(z[finite]), 1e-6, 1e-37)
    np.testing.assert_array_equal(tanh(core, np.array([np.inf, -np.inf], dtype)), [1, -1])
