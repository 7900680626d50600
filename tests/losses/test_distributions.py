"""Huber, quantile and the likelihoods: torch, extreme values, parameters, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from bad_arrays import read_only
from loss_problems import CASES, make
from rnncore import losses
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant

LIKELIHOODS = ["gaussian_negative_log_likelihood", "student_t_negative_log_likelihood"]
SHAPES = [(1, 1), (6, 3), (33, 16), (2, 5, 4)]


def torch_loss(torch: Any, name: str, leaf: Any, target: Any, least: float) -> Any:
    parts = leaf.reshape(*target.shape, -1)
    variance = parts[..., 1].exp() + least
    if name.startswith("gaussian"):
        return torch.nn.functional.gaussian_nll_loss(
            parts[..., 0], target, variance, full=True, eps=1e-300, reduction="none"
        )
    degrees = 2 + torch.nn.functional.softplus(parts[..., 2], threshold=1000)
    peer = torch.distributions.StudentT(degrees, parts[..., 0], variance.sqrt())
    return -peer.log_prob(target)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("least", [1e-6, 0.3])
def test_likelihood_is_that_of_torch(
    torch: Any, name: str, shape: Any, dtype: Any, least: float
) -> None:
    y, target = make(name, shape, dtype=dtype)
    rng = np.random.default_rng(2)
    mask, weights = rng.random(shape) < 0.8, rng.random(shape[:-1]) + 0.1
    mask.flat[0] = True
    leaf = torch.tensor(y.astype(np.float64), requires_grad=True)
    terms = torch_loss(torch, name, leaf, torch.tensor(target.astype(np.float64)), least)
    w = torch.tensor(weights.astype(dtype).astype(np.float64)[..., None] * mask)
    wanted = (terms * w).sum() / w.sum()
    wanted.backward()
    loss, dy = getattr(losses, name)(y, target, mask, weights, least_variance=least)
    assert loss == pytest.approx(wanted.item(), rel=1e-12, abs=1e-13)
    grad = leaf.grad.numpy()
    rounding = 1e-12 if dtype == np.float64 else 1e-7
    np.testing.assert_allclose(dy, grad, rtol=rounding, atol=rounding * abs(grad).max())


@pytest.mark.parametrize("delta", [1e-3, 0.5, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huber_is_that_of_torch(torch: Any, delta: float, dtype: Any) -> None:
    y, target = make("huber", (17, 5), dtype=dtype)
    leaf = torch.tensor(y, requires_grad=True)
    wanted = torch.nn.functional.huber_loss(leaf, torch.tensor(target), delta=delta)
    wanted.backward()
    loss, dy = losses.huber(y, target, delta=delta)
    assert loss == pytest.approx(wanted.item(), rel=1e-12 if dtype == np.float64 else 2e-6)
    np.testing.assert_allclose(dy, leaf.grad.numpy(), rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_huber_from_squares_to_absolute_values() -> None:
    y, target = make("huber", (17, 5))
    squares, dsquares = losses.mean_squared_error(y, target)
    assert losses.huber(y, target, delta=1e6)[0] == pytest.approx(squares / 2, rel=1e-14)
    np.testing.assert_allclose(losses.huber(y, target, delta=1e6)[1], dsquares / 2, rtol=1e-14)
    absolute, dabsolute = losses.mean_absolute_error(y, target)
    loss, dy = losses.huber(y, target, delta=1e-9)
    assert loss / 1e-9 == pytest.approx(absolute, rel=1e-8)
    np.testing.assert_allclose(dy / 1e-9, dabsolute, rtol=1e-14)


def test_where_an_error_is_zero_the_gradient_is_zero() -> None:
    y = np.zeros((2, 3))
    for name in ("mean_absolute_error", "huber"):
        loss, dy = getattr(losses, name)(y, y)
        assert loss == 0.0
        assert (dy == 0).all()
    loss, dy = losses.quantile(y, np.zeros((2, 1)), levels=(0.1, 0.5, 0.9))
    assert loss == 0.0
    assert (dy == 0).all()


def test_median_is_half_the_absolute_error() -> None:
    y, target = make("mean_absolute_error", (9, 4))
    absolute, dabsolute = losses.mean_absolute_error(y, target)
    loss, dy = losses.quantile(y, target, levels=[0.5])
    assert loss == pytest.approx(absolute / 2, rel=1e-15)
    np.testing.assert_allclose(dy, dabsolute / 2, rtol=1e-15)


def test_the_best_constants_are_the_quantiles() -> None:
    """Gradient descent on constants finds numpy's quantiles of the sample."""
    sample = np.random.default_rng(0).exponential(1, (2001, 1))
    levels = (0.05, 0.5, 0.9)
    guess = np.zeros(3)
    for step in range(4000):
        _, dy = losses.quantile(np.tile(guess, (2001, 1)), sample, levels=levels)
        guess -= 3 * 0.998**step * dy.sum(0)
    np.testing.assert_allclose(guess, np.quantile(sample, levels), atol=0.01)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_best_constants_are_the_parameters(name: str) -> None:
    """The gradient at a large sample's own parameters is small."""
    rng, loss = np.random.default_rng(0), CASES[name].loss
    if name.startswith("gaussian"):
        sample, y = rng.normal(3, 2, (200_000, 1)), [3.0, math.log(4)]
    else:
        sample, y = (
            3 + 2 * rng.standard_t(5, (200_000, 1)),
            [3, math.log(4), math.log(math.e**3 - 1)],
        )
    outputs = np.tile(np.array(y), (200_000, 1))
    _, dy = loss(outputs, sample)
    assert abs(dy.sum(0)).max() < 0.01
    assert abs(loss(outputs + 0.5, sample)[1].sum(0)).max() > 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_extreme_outputs_stay_finite(name: str, dtype: Any) -> None:
    P, values = CASES[name].loss.outputs_per_target, [-1e4, -100.0, 0.0, 100.0, 1e4]
    grid = np.stack(np.meshgrid(*[values] * P, indexing="ij"), -1).reshape(-1, P).astype(dtype)
    for target in (0.0, 1e4):
        loss, dy = CASES[name].loss(grid, np.full((len(grid), 1), target, dtype))
        assert np.isfinite(loss)
        assert np.isfinite(dy).all()
    hit = np.array([[2.0, -1e4, 0.0][:P]], dtype)
    loss, dy = CASES[name].loss(hit, [[2.0]])
    assert loss == pytest.approx(math.log(1e-6) / 2, abs=1.2)  # least_variance is the end
    assert abs(dy).max() < 0.5


def test_likelihood_of_a_far_outlier() -> None:
    outputs = np.array([[0.0, 0.0, 0.0]])
    near, far = (losses.student_t_negative_log_likelihood(outputs, [[x]]) for x in (10.0, 1e6))
    assert abs(far[1][0, 0]) < abs(near[1][0, 0])  # it pulls less
    loss, dy = losses.gaussian_negative_log_likelihood(outputs[:, :2], [[1e6]])
    assert loss == pytest.approx(5e11, rel=1e-5)
    assert dy[0, 0] == pytest.approx(-1e6, rel=1e-5)


def test_student_t_becomes_a_gaussian() -> None:
    y, target = make("gaussian_negative_log_likelihood", (6, 3))
    wide = np.concatenate([y.reshape(6, 3, 2), np.full((6, 3, 1), 1e9)], -1).reshape(6, 9)
    loss, dy = losses.student_t_negative_log_likelihood(wide, target)
    wanted, dwanted = losses.gaussian_negative_log_likelihood(y, target)
    assert loss == pytest.approx(wanted, rel=1e-7)
    each = dy.reshape(6, 3, 3)
    np.testing.assert_allclose(each[..., :2], dwanted.reshape(6, 3, 2), rtol=1e-6)
    assert abs(each[..., 2]).max() < 1e-15


def test_many_degrees_of_freedom_are_exact() -> None:
    """gamma(i + 1/2) / gamma(i) = sqrt(pi) i (2i choose i) / 4^i."""
    for i in [*range(25, 60), 100, 1000, 10_000]:
        ratio = math.sqrt(math.pi) * float(Fraction(i * math.comb(2 * i, i), 4**i))
        y = [[0.0, 0.0, 2.0 * i - 2]]  # 2 i degrees of freedom, scale 1
        loss, _ = losses.student_t_negative_log_likelihood(y, [[0.0]], least_variance=1e-300)
        assert loss == pytest.approx(0.5 * math.log(2 * math.pi * i) - math.log(ratio), abs=2e-15)
    y = [[0.0, 0.0, 1e300]]
    loss, dy = losses.student_t_negative_log_likelihood(y, [[0.0]], least_variance=1e-300)
    assert loss == pytest.approx(0.5 * math.log(2 * math.pi), abs=2e-13)
    np.testing.assert_allclose(dy, [[0, 0.5, 0]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_of_outputs(dtype: Any) -> None:
    y, _ = make("gaussian_negative_log_likelihood", (4, 3), dtype=dtype)
    found = losses.GaussianNegativeLogLikelihood(0.25).parameters(y)
    m, s = np.moveaxis(y.reshape(4, 3, 2), -1, 0)
    np.testing.assert_array_equal(found.mean, m)
    np.testing.assert_allclose(found.deviation, np.sqrt(np.exp(s) + 0.25), rtol=1e-6)
    assert found.deviation.dtype == dtype
    y, _ = make("student_t_negative_log_likelihood", (2, 4, 3), dtype=dtype)
    found = losses.StudentTNegativeLogLikelihood().parameters(y)
    m, s, r = np.moveaxis(y.reshape(2, 4, 3, 3), -1, 0)
    np.testing.assert_array_equal(found.location, m)
    np.testing.assert_allclose(found.scale, np.sqrt(np.exp(s) + 1e-6), rtol=1e-6)
    np.testing.assert_allclose(found.degrees, 2 + np.log1p(np.exp(r)), rtol=1e-6)
    assert {part.dtype for part in found} == {np.dtype(dtype)}
    np.testing.assert_array_equal(losses.Quantile((0.1, 0.9)).quantiles([[1, 2, 3, 4]]),
                                  [[[1, 2], [3, 4]]])  # fmt: skip
    with pytest.raises(ValueError, match=r"^y: expected \(..., O \* 3\), got \(2, 4\)"):
        losses.StudentTNegativeLogLikelihood().parameters(np.zeros((2, 4)))


Y, T = np.zeros((2, 6)), np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.huber(T, T, delta=0), ValueError, "^delta: expected a positive, finite"),
        (lambda: losses.huber(T, T, delta=-1.0), ValueError, "^delta: expected a positive"),
        (lambda: losses.huber(T, T, delta=math.inf), ValueError, "^delta: expected a positive"),
        (lambda: losses.huber(T, T, delta=math.nan), ValueError, "^delta: expected a positive"),
        (lambda: losses.huber(T, T, delta="1"), TypeError, "^delta: expected a positive number"),
        (lambda: losses.huber(T, T, delta=True), TypeError, "^delta: expected a positive number"),
        (lambda: losses.quantile(Y, T, levels=[]), ValueError, "^levels: expected at least one"),
        (lambda: losses.quantile(Y, T, levels=0.5), TypeError, "^levels: expected a sequence"),
        (lambda: losses.quantile(Y, T, levels="ab"), TypeError, "^levels: expected a sequence"),
        (
            lambda: losses.quantile(Y, T, levels=[0.5, 1.0]),
            ValueError,
            r"^levels\[1\]: expected a number in \(0, 1\), got 1.0",
        ),
        (lambda: losses.quantile(Y, T, levels=[None, 1]), TypeError, r"^levels\[0\]: expected"),
        (
            lambda: losses.quantile(Y, T),
            ValueError,
            r"^target: expected \(..., O\) for y \(..., O \* 3\) = \(2, 2\), got \(2, 3\)",
        ),
        (
            lambda: losses.quantile(Y[:, :5], T, levels=[0.1, 0.9]),
            ValueError,
            r"^y: expected \(..., O \* 2\), got \(2, 5\)",
        ),
        (
            lambda: losses.gaussian_negative_log_likelihood(Y, T, least_variance=0.0),
            ValueError,
            "^least_variance: expected a positive",
        ),
        (
            lambda: losses.gaussian_negative_log_likelihood(Y, T[:1]),
            ValueError,
            r"^target: expected \(..., O\) for y \(..., O \* 2\) = \(2, 3\), got \(1, 3\)",
        ),
        (
            lambda: losses.student_t_negative_log_likelihood(Y, T),
            ValueError,
            r"^target: .* = \(2, 2\), got \(2, 3\)",
        ),
        (
            lambda: losses.student_t_negative_log_likelihood(Y + 1j, T),
            TypeError,
            "^y: expected real numbers",
        ),
        (
            lambda: losses.gaussian_negative_log_likelihood(Y, T, np.ones((2, 6), bool)),
            ValueError,
            r"^mask: expected the shape of target = \(2, 3\), got \(2, 6\)",
        ),
    ],
)
def test_errors_name_the_argument(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# The raw binding.


def arrays(name: str, dtype: Any = np.float64) -> dict[str, Any]:
    """Arguments of the kernel by name, in order."""
    P = {"gaussian_negative_log_likelihood": 2, "student_t_negative_log_likelihood": 3}.get(name, 1)
    rng = np.random.default_rng(0)
    number = {"quantile": {"levels": np.array([0.1, 0.5, 0.9], dtype)}, "huber": {"delta": 1.0}}
    return {
        "y": rng.normal(size=(4, 3 * P)).astype(dtype),
        "target": rng.normal(size=(4, 3)).astype(dtype),
        "mask": np.ones((4, 3), bool),
        "weights": np.ones(4, dtype),
        **number.get(name, {"least_variance": 1e-6}),
        "dy": np.full((4, 3 * P), np.nan, dtype),
    }


@pytest.mark.parametrize("kernel", [*LIKELIHOODS, "quantile", "huber"])
@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("y", lambda a: a[:3], ValueError),
        ("y", lambda a: a.astype(np.float16), TypeError),
        ("y", lambda a: np.asfortranarray(a), ValueError),
        ("target", lambda a: a[:3], ValueError),
        ("target", lambda a: a[0], ValueError),
        ("target", lambda a: a.astype(np.float32), TypeError),
        ("mask", lambda a: a[:, :2], ValueError),
        ("mask", lambda a: a.astype(np.int8), TypeError),
        ("weights", lambda a: a[:3], ValueError),
        ("weights", lambda a: a.astype(np.float32), TypeError),
        ("levels", lambda a: a[:2], ValueError),
        ("levels", lambda a: a.astype(np.float32), TypeError),
        ("dy", lambda a: a[:, 1:], ValueError),
        ("dy", lambda a: a.astype(np.float32), TypeError),
        ("dy", read_only, ValueError),
    ],
)
def test_raw_binding_names_bad_arrays(kernel: str, name: str, change: Any, error: Any) -> None:
    call = arrays(kernel)
    if name not in call:
        return
    call[name] = change(call[name])
    named = "(y|target)" if name in ("y", "target") else name  # either may have the wrong shape
    with pytest.raises(error, match=rf"^{named}: "):
        getattr(core, kernel)(*call.values())


@pytest.mark.parametrize("kernel", [*LIKELIHOODS, "quantile", "huber"])
def test_raw_binding_writes_every_element_of_strided_arrays(kernel: str) -> None:
    call, plain = arrays(kernel), arrays(kernel)
    columns = call["y"].shape[1]
    wide = np.full((4, columns + 2), np.nan)
    call["dy"] = wide[:, 1:-1]
    assert getattr(core, kernel)(*call.values()) == getattr(core, kernel)(*plain.values())
    np.testing.assert_array_equal(call["dy"], plain["dy"])
    assert np.isfinite(plain["dy"]).all()
    assert np.isnan(wide[:, [0, -1]]).all()
    with pytest.raises(ValueError, match="shares memory with"):
        getattr(core, kernel)(*(plain | {"dy": plain["y"]}).values())
