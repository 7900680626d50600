"""Weights of rows and masks of elements, in every loss: values, gradients, and what is not read."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from loss_problems import CASES, ELEMENTWISE, LABELLED, expected, make
from rnncore import losses
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant

every_loss = pytest.mark.parametrize("name", CASES)
elementwise = pytest.mark.parametrize("name", ELEMENTWISE)
SHAPES = [(1, 1), (7, 3), (34, 17), (2, 5, 4)]


def weighing(shape: tuple[int, ...], seed: int = 1) -> Any:
    """A mask, and weights of which some are 0."""
    rng = np.random.default_rng(seed)
    mask, weights = rng.random(shape) < 0.7, rng.exponential(2, shape) * (rng.random(shape) < 0.8)
    mask.flat[0], weights.flat[0] = True, 0.5
    return mask, weights


def check_gradient(name: str, y: Any, target: Any, mask: Any, weights: Any) -> None:
    """Against central differences of the loss."""
    loss = CASES[name].loss
    _, dy = loss(y, target, mask, weights)
    step = 1e-5
    for index in np.ndindex(y.shape):
        ends = []
        for move in (step, -step):
            moved = y.copy()
            moved[index] += move
            ends.append(loss(moved, target, mask, weights)[0])
        difference = (ends[0] - ends[1]) / (2 * step)
        assert dy[index] == pytest.approx(difference, abs=1e-7 * max(1, abs(dy).max()))


@every_loss
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value_is_the_weighted_mean(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    y, target = make(name, shape, dtype=dtype)
    mask, weights = weighing(shape[:-1])
    rounding = 1e-12 if dtype == np.float64 else 2e-6
    for flags, weighted in ((None, None), (mask, None), (None, weights), (mask, weights)):
        loss, dy = CASES[name].loss(y, target, flags, weighted)
        assert loss == pytest.approx(expected(name, y, target, flags, weighted), rel=rounding)
        assert dy.dtype == dtype
        assert dy.shape == y.shape
        silent = np.zeros(shape[:-1], bool) if flags is None else ~flags
        silent = silent if weighted is None else silent | (weighted == 0)
        assert (dy[silent] == 0).all()


@every_loss
@pytest.mark.parametrize("shape", [(1, 3), (5, 4), (2, 3, 5)])
def test_gradient_is_the_central_difference(name: str, shape: tuple[int, ...]) -> None:
    y, target = make(name, shape)
    check_gradient(name, y, target, *weighing(shape[:-1]))


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_of_one_are_the_bits_of_none(name: str, dtype: Any) -> None:
    y, target = make(name, (9, 4), dtype=dtype)
    mask, _ = weighing((9,))
    for flags in (None, mask):
        loss, dy = CASES[name].loss(y, target, flags)
        again, dy_again = CASES[name].loss(y, target, flags, np.ones(9))
        if name == "negative_log_likelihood":  # numpy divides in another order
            assert again == pytest.approx(loss, rel=1e-15)
            np.testing.assert_allclose(dy_again, dy, rtol=2 * np.finfo(dtype).eps)
        else:
            assert again == loss
            np.testing.assert_array_equal(dy_again, dy)


@every_loss
def test_a_weight_of_three_is_a_row_three_times(name: str) -> None:
    y, target = make(name, (6, 4))
    times = np.array([1, 3, 0, 2, 1, 5])
    loss, dy = CASES[name].loss(y, target, None, times)
    rows = np.repeat(np.arange(6), times)
    wanted, each = CASES[name].loss(y[rows], target[rows])
    assert loss == pytest.approx(wanted, rel=1e-14)
    summed = np.zeros_like(y)
    np.add.at(summed, rows, each)
    np.testing.assert_allclose(dy, summed, rtol=1e-12, atol=1e-16)


@every_loss
def test_a_row_of_weight_zero_is_not_read(name: str) -> None:
    y, target = make(name, (6, 4))
    weights = np.array([1, 0.5, 0, 2, 0, 3])
    loss, dy = CASES[name].loss(y, target, None, weights)
    assert CASES[name].loss(y, target, weights > 0, weights)[0] == loss
    y[[2, 4]] = np.nan
    target[[2, 4]] = -7 if name in LABELLED else np.nan
    again, dy_again = CASES[name].loss(y, target, None, weights)
    assert again == loss
    np.testing.assert_array_equal(dy_again, dy)


@every_loss
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_row_stays_alone_in_the_gradient(name: str, value: float) -> None:
    y, target = make(name, (5, 18))
    _, clean = CASES[name].loss(y, target)
    y[2] = value
    with np.errstate(invalid="ignore"):
        loss, dy = CASES[name].loss(y, target)
    if np.isnan(value):
        assert np.isnan(loss)
        assert np.isnan(dy[2]).any()
    np.testing.assert_array_equal(np.delete(dy, 2, 0), np.delete(clean, 2, 0))


@every_loss
def test_nothing_counts(name: str) -> None:
    y, target = make(name, (3, 4))
    for mask, weights in ((None, np.zeros(3)), (np.zeros(3, bool), None)):
        loss, dy = CASES[name].loss(y, target, mask, weights)
        assert loss == 0.0
        np.testing.assert_array_equal(dy, np.zeros_like(y))
    for shape in ((0, 4), (2, 0, 4)):
        y, target = make(name, shape)
        loss, dy = CASES[name].loss(y, target, None, np.ones(shape[:-1]))
        assert loss == 0.0
        assert dy.shape == y.shape


@elementwise
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_mask_of_elements(name: str, shape: Any, dtype: Any, weighted: bool) -> None:
    y, target = make(name, shape, dtype=dtype)
    mask, weights = weighing(shape)[0], weighing(shape[:-1])[1] if weighted else None
    loss, dy = CASES[name].loss(y, target, mask, weights)
    rounding = 1e-12 if dtype == np.float64 else 2e-6
    assert loss == pytest.approx(expected(name, y, target, mask, weights), rel=rounding)
    each = dy.reshape(*shape, -1)
    assert (each[~mask] == 0).all()
    target[~mask] = np.nan
    y.reshape(each.shape)[~mask] = np.nan
    again, dy_again = CASES[name].loss(y, target, mask, weights)
    assert again == loss
    np.testing.assert_array_equal(dy_again, dy)


@elementwise
def test_gradient_with_a_mask_of_elements(name: str) -> None:
    y, target = make(name, (4, 3))
    check_gradient(name, y, target, weighing((4, 3))[0], weighing((4,))[1])


@elementwise
def test_a_full_mask_of_elements_is_the_bits_of_none(name: str) -> None:
    y, target = make(name, (9, 35), dtype=np.float32)
    loss, dy = CASES[name].loss(y, target)
    again, dy_again = CASES[name].loss(y, target, np.ones((9, 35), bool))
    assert again == loss
    np.testing.assert_array_equal(dy_again, dy)


@every_loss
def test_same_bits_at_any_number_of_threads(name: str, threads: Any) -> None:
    y, target = make(name, (1003, 67), dtype=np.float32)
    mask, weights = weighing((1003,))
    results = []
    for count in (1, 2, 5):
        threads(core, count)
        results.append(CASES[name].loss(y, target, mask, weights))
    for loss, dy in results[1:]:
        assert loss == results[0][0]
        np.testing.assert_array_equal(dy, results[0][1])


def test_class_weights_are_those_of_torch(torch: Any) -> None:
    logits, labels = make("softmax_cross_entropy", (40, 5))
    classes = np.array([0.2, 3.0, 1.0, 0.7, 2.5])
    leaf = torch.tensor(logits, requires_grad=True)
    wanted = torch.nn.functional.cross_entropy(
        leaf, torch.tensor(labels), weight=torch.tensor(classes)
    )
    wanted.backward()
    loss, dlogits = losses.softmax_cross_entropy(logits, labels, None, classes[labels])
    assert loss == pytest.approx(wanted.item(), rel=1e-13)
    np.testing.assert_allclose(dlogits, leaf.grad.numpy(), atol=1e-15)


def test_weights_are_converted_silently() -> None:
    y, target = make("mean_squared_error", (3, 2), dtype=np.float32)
    wanted = losses.mean_squared_error(y, target, None, np.array([1, 2, 3], np.float32))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for weights in ([1, 2, 3], np.array([1.0, 2, 3]), np.array([1, 2, 3], np.uint8)):
            assert losses.mean_squared_error(y, target, None, weights)[0] == wanted


@every_loss
@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0, -0.5, 1.0], ValueError, "finite numbers >= 0, got -0.5 at index 1"),
        ([1.0, 1.0, np.nan], ValueError, "finite numbers >= 0, got nan at index 2"),
        ([np.inf, 1.0, 1.0], ValueError, "finite numbers >= 0, got inf at index 0"),
        ([1.0, 1.0], ValueError, r"expected the leading shape of \w+ = \(3,\), got \(2,\)"),
        (np.ones((3, 4)), ValueError, r"expected the leading shape"),
        (["a", "b", "c"], TypeError, "expected real numbers"),
        ([1j, 1, 1], TypeError, "expected real numbers"),
    ],
)
def test_errors_name_the_weights(name: str, weights: Any, error: Any, message: str) -> None:
    y, target = make(name, (3, 4))
    with pytest.raises(error, match=rf"^weights: .*{message}"):
        CASES[name].loss(y, target, None, weights)


@every_loss
def test_errors_name_the_mask(name: str) -> None:
    y, target = make(name, (3, 4))
    with pytest.raises(ValueError, match=r"^mask: expected"):
        CASES[name].loss(y, target, np.ones(4, bool))
    if name in LABELLED:
        with pytest.raises(ValueError, match=r"^mask: expected the leading shape"):
            CASES[name].loss(y, target, np.ones((3, 4), bool))


def test_a_weight_too_large_for_the_dtype_is_refused() -> None:
    y, target = make("mean_squared_error", (2, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"^weights: expected finite numbers >= 0, got inf"):
        losses.mean_squared_error(y, target, None, [1.0, 1e300])
    loss, dy = losses.mean_squared_error(y, target, None, [1.0, 1e-60])  # 0 in float32
    assert loss == pytest.approx(losses.mean_squared_error(y[:1], target[:1])[0])
    assert (dy[1] == 0).all()
    assert np.isfinite(losses.mean_squared_error(y, target, None, [3e38, 3e38])[1]).all()


@pytest.mark.parametrize("name", ["mean_squared_error", "huber", "binary_cross_entropy"])
def test_raw_binding_takes_a_mask_of_elements(name: str) -> None:
    y, target = make(name, (4, 3))
    mask, out = np.ones((4, 3), bool), np.full((4, 3), np.nan)
    numbers = (1.0,) if name == "huber" else ()
    getattr(core, name)(y, target, mask, None, *numbers, out)
    assert np.isfinite(out).all()
    for wrong in (mask[:, :2], mask[:3], mask[None], np.asfortranarray(mask)):
        with pytest.raises(ValueError, match=r"^mask: "):
            getattr(core, name)(y, target, wrong, None, *numbers, out)
    with pytest.raises(TypeError, match=r"^mask: "):
        getattr(core, name)(y, target, mask.view(np.int8), None, *numbers, out)
