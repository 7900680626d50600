"""tanh and the logistic function of the kernels, seen through cells whose sums are exact."""

from __future__ import annotations

import numpy as np
import pytest
from rnncore._native import isa as _isa

pytestmark = pytest.mark.once

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def run(core, cell, gates, column, h_0, z):
    """y of one step of one unit per row; W has a single one, so the pre-activation is z itself."""
    dtype, n = z.dtype, len(z)
    weight_ih = np.zeros((gates, 1), dtype)
    weight_ih[column] = 1
    y = np.full((1, n, 1), np.nan, dtype)
    weights = weight_ih, np.zeros((gates, 1), dtype), None, None
    state_0, state_n = (np.full((n, 1), h_0, dtype), None), (np.empty((n, 1), dtype), None)
    core.forward(cell, z.reshape(1, n, 1), weights, state_0, y, state_n)
    return y.ravel()


def tanh(core, z):
    return run(core, "rnn_tanh", 1, 0, 0, z)


def logistic(core, z):
    return run(core, "gru", 3, 1, 1, z)  # n = tanh(0) = 0 and h_prev = 1: h = u


def exact_logistic(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def arguments(dtype):
    """Normal numbers of every size, dense where the functions bend and where their pieces meet."""
    rng = np.random.default_rng(0)
    meets = np.concatenate([[0.5494, 0.625, 10, 19.06, 20], np.log(2) / 4 * np.arange(1, 256)])
    z = np.concatenate([
        2.0 ** rng.uniform(np.finfo(dtype).minexp, 10, 60_000),
        2.0 ** rng.uniform(-8, 5, 60_000),
        rng.uniform(0, 1.2, 120_000),
        rng.uniform(0, 22, 60_000),
        (meets[:, None] + np.linspace(-1e-4, 1e-4, 401)).ravel(),
    ])  # fmt: skip
    return np.concatenate([z, -z]).astype(dtype)


# The kernels flush subnormal numbers: the logistic function may lose what they would hold.
@every_isa
@pytest.mark.parametrize(
    ("function", "exact", "ulps", "flushed"),
    [
        (tanh, np.tanh, {np.float32: 1.5, np.float64: 2}, 0),
        (logistic, exact_logistic, {np.float32: 2.5, np.float64: 3}, 1),
    ],
    ids=["tanh", "logistic"],
)
@every_dtype
def test_error_in_units_in_the_last_place(core, function, exact, ulps, flushed, dtype):
    z = arguments(dtype)
    expected = exact(z.astype(np.longdouble))
    error = np.abs(function(core, z) - expected) - flushed * np.finfo(dtype).smallest_normal
    with np.errstate(under="ignore"):
        error /= np.spacing(np.abs(expected).astype(dtype))
    assert error.max() <= ulps[dtype], z[error.argmax()]


@every_isa
@every_dtype
def test_tanh_is_odd(core, dtype):
    z = np.append(arguments(dtype), np.inf).astype(dtype)
    np.testing.assert_array_equal(tanh(core, -z), -tanh(core, z))


@every_isa
@every_dtype
def test_tanh_keeps_the_sign_of_zero(core, dtype):
    # A sum never gives -0, but c does: f c_0 + i g, both -0, where i g = 0.5 tanh(z) underflows.
    z = np.finfo(dtype).smallest_normal * np.array([-1, 1], dtype)
    c_0 = np.copysign(np.zeros((2, 1), dtype), z[:, None])
    weight_ih = np.array([[0], [0], [1], [0]], dtype)
    y, h_n, c_n = np.full((1, 2, 1), np.nan, dtype), np.empty((2, 1), dtype), np.empty_like(c_0)
    weights = weight_ih, np.zeros((4, 1), dtype), None, None
    state_0 = np.zeros((2, 1), dtype), c_0
    core.forward("lstm", z.reshape(1, 2, 1), weights, state_0, y, (h_n, c_n))
    np.testing.assert_array_equal(c_n, 0)
    np.testing.assert_array_equal(np.signbit(y.ravel()), [True, False])


@every_isa
@every_dtype
def test_saturation_and_nan(core, dtype):
    z = np.array([20, 1000, 1e30, np.finfo(dtype).max, np.inf], dtype)
    np.testing.assert_array_equal(tanh(core, z), 1)
    np.testing.assert_array_equal(tanh(core, -z), -1)
    np.testing.assert_array_equal(logistic(core, z[1:-1]), 1)
    np.testing.assert_array_equal(logistic(core, -z[1:-1]), 0)
    z = np.array([np.nan, -np.nan, 1, np.nan], dtype)
    for function in tanh, logistic:
        np.testing.assert_array_equal(np.isnan(function(core, z)), np.isnan(z))


@every_isa
@every_dtype
def test_infinity_opens_and_shuts_a_gate(core, dtype):
    # All gates get z: h = (1 - logistic(z)) tanh(z).
    got = run(core, "gru", 3, slice(None), 0, np.array([np.inf, -np.inf], dtype))
    np.testing.assert_array_equal(got, [0, -1])


@every_isa
@every_dtype
@pytest.mark.parametrize("function", [tanh, logistic])
def test_monotone_at_saturation_and_never_beyond_one(core, function, dtype):
    z = np.linspace(7, 42, 400_001).astype(dtype)
    y = function(core, z)
    one_from = np.flatnonzero(y < 1)[-1] + 1
    assert z[one_from] < -1.1 * np.log(np.finfo(dtype).epsneg)
    np.testing.assert_array_equal(y[one_from:], 1)
    assert y.max() <= 1
    # An error may undo a step of one unit in the last place, no more.
    assert np.diff(y).min() >= -np.finfo(dtype).epsneg
