"""Losses as objects: what they say of themselves, descriptions, and users' functions."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from loss_problems import CASES, make
from rnncore import losses

pytestmark = pytest.mark.once

OBJECTS = [case.loss for case in CASES.values()] + [losses.CTC(2, skip_infeasible=True)]


@pytest.mark.parametrize("loss", OBJECTS, ids=lambda loss: loss.name)
def test_an_object_comes_back_from_its_description(loss: Any) -> None:
    text = json.dumps(loss.description())
    assert losses.from_description(json.loads(text)) == loss
    assert losses.as_loss(json.loads(text)) == loss
    assert eval(repr(loss), vars(losses)) == loss
    for other in (copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other == loss
        assert hash(other) == hash(loss)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        loss.name = "other"


@pytest.mark.parametrize("loss", OBJECTS, ids=lambda loss: loss.name)
def test_name_function_and_object_are_one_loss(loss: Any) -> None:
    usual = type(loss)()
    function = getattr(losses, loss.name)
    assert losses.as_loss(loss) is loss
    assert losses.as_loss(loss.name) == usual
    assert losses.as_loss(function) == usual
    assert losses.from_description(loss.name) == usual


@pytest.mark.parametrize("name", CASES)
def test_a_call_is_that_of_the_function(name: str) -> None:
    loss = CASES[name].loss
    y, target = make(name, (4, 3))
    mask, weights = np.array([1, 1, 0, 1], bool), np.array([1, 2, 3, 0.5])
    wanted = getattr(losses, name)(y, target, mask, weights, **loss.numbers())
    for found in (loss(y, target, mask, weights), loss.unchecked(y, target, mask, weights)):
        assert found[0] == wanted[0]
        np.testing.assert_array_equal(found[1], wanted[1])


def test_what_objects_say_of_targets() -> None:
    kinds = {loss.name: loss.kind for loss in OBJECTS}
    assert {name for name, kind in kinds.items() if kind == "labels"} == {
        "softmax_cross_entropy", "negative_log_likelihood"
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "probabilities"} == {
        "binary_cross_entropy"
    }
    assert kinds["ctc"] == "label_sequences"
    several = {
        loss.name: loss.outputs_per_target for loss in OBJECTS if loss.outputs_per_target > 1
    }
    assert several == {
        "quantile": 3, "gaussian_negative_log_likelihood": 2, "student_t_negative_log_likelihood": 3
    }  # fmt: skip
    assert losses.Quantile([0.25]).outputs_per_target == 1
    assert losses.Huber(delta=2) == losses.Huber(2.0) != losses.Huber()
    assert repr(losses.Huber(2)) == "Huber(delta=2.0)"


@pytest.mark.parametrize(
    ("make_loss", "error", "message"),
    [
        (lambda: losses.as_loss("huberr"), ValueError, "^loss: expected one of 'mean_sq"),
        (lambda: losses.as_loss(3), ValueError, "^loss: expected one of .*, got 3"),
        (lambda: losses.as_loss(None), ValueError, "^loss: expected one of .*, got None"),
        (lambda: losses.as_loss(losses.Huber), TypeError, r"^loss: .*such as Huber\(\), got class"),
        (lambda: losses.as_loss(lambda y: y), TypeError, "^loss: expected a function of"),
        (lambda: losses.as_loss(lambda a, b, c: 0), TypeError, "^loss: expected a function of"),
        (lambda: losses.from_description({"loss": "mse"}), ValueError, "^loss: expected one of"),
        (lambda: losses.from_description({}), ValueError, "^loss: expected one of .* got None"),
        (lambda: losses.from_description({"loss": "huber", "delta": -1}), ValueError, "^delta: "),
        (lambda: losses.from_description({"loss": "huber", "gamma": 1}), ValueError,
         r"^loss: expected huber with \['delta'\], got 'gamma'"),
        (lambda: losses.from_description({"loss": "quantile", "levels": {}}), ValueError,
         "^levels: expected at least one"),
        (lambda: losses.Huber(0), ValueError, "^delta: "),
        (lambda: losses.Quantile((0.5, 2)), ValueError, r"^levels\[1\]: "),
        (lambda: losses.GaussianNegativeLogLikelihood(math.nan), ValueError, "^least_variance: "),
        (lambda: losses.StudentTNegativeLogLikelihood("x"), TypeError, "^least_variance: "),
        (lambda: losses.CTC(-1), ValueError, "^blank: "),
        (lambda: losses.CTC(0, "no"), TypeError, "^skip_infeasible: "),
        (lambda: losses.UserLoss(3), TypeError, "^function: expected a function"),
        (lambda: losses.UserLoss(len, "tokens"), ValueError, "^targets: expected one of"),
    ],
)  # fmt: skip
def test_errors_name_what_is_wrong(make_loss: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make_loss()


def test_a_loss_of_another_class_is_refused() -> None:
    """It could not be loaded again."""

    class Mine(losses.MeanSquaredError):
        pass

    with pytest.raises(TypeError, match=r"^loss: expected a UserLoss with your function, got Mine"):
        losses.as_loss(Mine())


# Users' functions.


def squares(y: Any, target: Any) -> Any:
    error = y - target
    return (error**2).mean(), 2 * error / error.size


def masked_squares(y: Any, target: Any, mask: Any) -> Any:
    error = np.where(mask[..., None], y - target, 0)
    count = mask.sum() * y.shape[-1]
    return (error**2).sum() / count, 2 * (y - target) / count  # not cleared: not read


def weighted_squares(y: Any, target: Any, *, mask: Any = None, weights: Any = None) -> Any:
    w = mask * (1.0 if weights is None else weights)
    error, total = np.where(mask[..., None], y - target, 0), w.sum() * y.shape[-1]
    return (w[..., None] * error**2).sum() / total, 2 * w[..., None] * error / total


@pytest.mark.parametrize("function", [squares, masked_squares, weighted_squares])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_function_of_ones_own(function: Any, shape: Any, dtype: Any) -> None:
    loss = losses.as_loss(function)
    assert (loss.kind, loss.outputs_per_target) == ("values", 1)
    y, target = make("mean_squared_error", shape, dtype=dtype)
    mask = np.random.default_rng(0).random(shape[:-1]) < 0.6
    rounding = 1e-14 if dtype == np.float64 else 1e-6
    for flags in (None, mask):
        wanted, dwanted = losses.mean_squared_error(y, target, flags)
        for found, dy in (loss(y, target, flags), loss.unchecked(y, target, flags)):
            assert found == pytest.approx(wanted, rel=rounding)
            np.testing.assert_allclose(dy, dwanted, rtol=rounding)
            assert dy.dtype == dtype
    y[~mask] = target[~mask] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isfinite(loss(y, target, mask)[1]).all()
    none = loss(y, target, np.zeros(shape[:-1], bool))
    assert none[0] == 0.0
    assert (none[1] == 0).all()


def test_weights_go_to_a_function_that_takes_them() -> None:
    y, target = make("mean_squared_error", (5, 3))
    weights = np.arange(5.0)
    loss, dy = losses.as_loss(weighted_squares)(y, target, None, weights)
    wanted, dwanted = losses.mean_squared_error(y, target, None, weights)
    assert loss == pytest.approx(wanted, rel=1e-14)
    np.testing.assert_allclose(dy, dwanted, rtol=1e-14)
    for function in (squares, masked_squares):
        with pytest.raises(ValueError, match=r"^weights: expected None, since the loss's function"):
            losses.as_loss(function)(y, target, None, weights)


def test_rows_come_to_a_function_without_padding() -> None:
    seen = []

    def look(y: Any, target: Any) -> Any:
        seen.append((y.shape, target.shape))
        with pytest.raises(ValueError, match=r"read-only"):
            y[0] = 1
        return squares(y, target)

    y, target = make("mean_squared_error", (2, 4, 3))
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    losses.as_loss(look)(y, target, mask)
    losses.as_loss(look)(y, target)
    assert seen == [((6, 3), (6, 3)), ((8, 3), (8, 3))]


def test_a_function_of_labels() -> None:
    def focal(z: Any, labels: Any) -> Any:
        return losses.softmax_cross_entropy(z, labels)

    loss = losses.UserLoss(focal, "labels")
    z, labels = make("softmax_cross_entropy", (6, 4))
    labels[1] = -100
    mask = np.array([1, 1, 0, 1, 0, 1], bool)
    wanted, dwanted = losses.softmax_cross_entropy(z, labels, mask)
    found, dz = loss(z, labels, mask)
    assert found == pytest.approx(wanted, rel=1e-15)
    np.testing.assert_allclose(dz, dwanted, rtol=1e-14)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda y, t: 1.0, TypeError, r"^loss: expected \(loss, dy\) from <lambda>, got float"),
        (lambda y, t: (1.0, y, t), TypeError, r"^loss: expected \(loss, dy\)"),
        (lambda y, t: ("1", y), TypeError, "^loss: expected a number, got '1'"),
        (lambda y, t: (np.ones(2), y), TypeError, "^loss: expected a number"),
        (lambda y, t: (1.0, y[:1]), ValueError, r"^dy: expected the shape of y = \(4, 3\), got"),
        (lambda y, t: (1.0, None), TypeError, "^dy: expected real numbers"),
        (lambda y, t: (1.0, y + 1j), TypeError, "^dy: expected real numbers"),
    ],
)
def test_what_a_function_returns_is_checked(function: Any, error: Any, message: str) -> None:
    y, target = make("mean_squared_error", (4, 3))
    with pytest.raises(error, match=message):
        losses.as_loss(function)(y, target)
    with pytest.raises(error, match=message):
        losses.as_loss(function).unchecked(y, target)


def test_a_function_refuses_a_mask_of_elements_and_other_options() -> None:
    y, target = make("mean_squared_error", (4, 3))
    loss = losses.as_loss(squares)
    with pytest.raises(ValueError, match=r"^mask: expected"):
        loss(y, target, np.ones((4, 3), bool))
    with pytest.raises(ValueError, match=r"^mask: expected one flag for each row \(4,\)"):
        loss.unchecked(y, target, np.ones((4, 3), bool))
    with pytest.raises(TypeError, match=r"^delta: unexpected"):
        loss(y, target, delta=1)


def test_a_function_has_no_description() -> None:
    with pytest.raises(TypeError, match=r"^loss: .*got the function squares, which a file cannot"):
        losses.as_loss(squares).description()
    assert losses.as_loss(squares) == losses.as_loss(squares) != losses.as_loss(masked_squares)
