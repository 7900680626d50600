"""Layers without parameters: activations, pooling, merging, masking, reversal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from arrays import normal
from errors import raises
from rnncore import Activation, Masking, Merging, Pooling, Reversal
from rnncore.layers.activation import NAMES

pytestmark = pytest.mark.once

# Each function of one number, with the numbers of its own that it was made with.
FUNCTIONS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "identity": (lambda x: x, ()),
    "tanh": (math.tanh, ()),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), ()),
    "relu": (lambda x: x if x > 0 else 0, ()),
    "affine": (lambda x: 0.7 * x - 0.2, (0.7, -0.2)),
    "leaky_relu": (lambda x: x if x > 0 else 0.3 * x, (0.3,)),
    "thresholded_relu": (lambda x: x if x > 0.4 else 0, (0.4,)),
    "scaled_tanh": (lambda x: 1.7 * math.tanh(0.6 * x), (1.7, 0.6)),
    "hard_sigmoid": (lambda x: min(1, max(0, x / 6 + 0.4)), (1 / 6, 0.4)),
    "elu": (lambda x: x if x > 0 else 0.8 * (math.exp(x) - 1), (0.8,)),
    "softsign": (lambda x: x / (1 + abs(x)), ()),
    "softplus": (lambda x: math.log(1 + math.exp(x)), ()),
}
USUAL = {
    "affine": (1, 0), "leaky_relu": (0.01,), "thresholded_relu": (1,), "scaled_tanh": (1, 1),
    "hard_sigmoid": (0.2, 0.5), "elu": (1,),
}  # fmt: skip


def check_gradient(layer: Any, x: Any, *inputs: Any) -> None:
    y, tape = layer.forward(x, *inputs)
    np.testing.assert_array_equal(layer(x, *inputs), y)
    dy, direction = normal(*y.shape, seed=2), normal(*x.shape, seed=3)
    dx = layer.backward(tape, dy)
    ahead, behind = (layer(x + e * direction, *inputs) for e in (1e-6, -1e-6))
    assert np.vdot(dx, direction) == pytest.approx(np.vdot(dy, ahead - behind) / 2e-6, abs=1e-8)
    assert layer.backward(tape, dy, input_gradient=False) is None
    with raises(ValueError, f"dy: expected the shape of y = {y.shape}, got (1,)"):
        layer.backward(tape, np.ones(1))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_are_their_formulas(name: str) -> None:
    function, numbers = FUNCTIONS[name]
    x = 3 * normal(4, 9)
    layer = Activation(name, *numbers)
    np.testing.assert_allclose(layer(x), np.vectorize(function, [float])(x), rtol=1e-12)
    assert layer(x.astype(np.float32)).dtype == np.float32
    assert layer(x).dtype == np.float64
    check_gradient(layer, x)
    usual = Activation(name)
    assert [n for n in (usual.alpha, usual.beta) if n is not None] == list(USUAL.get(name, ()))


def test_every_activation_is_tested() -> None:
    assert {*FUNCTIONS, "softmax"} == set(NAMES)


def test_softmax_and_softplus_of_large_numbers() -> None:
    x = np.array([[1000.0, 1001.0, -1000.0]])
    expected = 1 / (1 + math.e)
    np.testing.assert_allclose(Activation("softmax")(x), [[expected, 1 - expected, 0]], rtol=1e-12)
    np.testing.assert_array_equal(Activation("softplus")(x), [[1000, 1001, 0]])
    np.testing.assert_array_equal(Activation("elu")(x), [[1000, 1001, -1]])
    np.testing.assert_array_equal(Activation("sigmoid")(x), [[1, 1, 0]])
    check_gradient(Activation("softmax"), normal(3, 4, 5))


def test_pooling_reads_valid_steps_alone() -> None:
    x, lengths = normal(4, 5, 3), np.array([5, 2, 0, 1])
    spoilt = np.where(np.arange(5)[:, None] < lengths[:, None, None], x, np.nan)
    by_hand = {"last": lambda v: v[-1], "mean": lambda v: v.mean(0), "max": lambda v: v.max(0)}
    for kind, function in by_hand.items():
        layer = Pooling(kind)
        expected = [function(x[i, :n]) if n else np.zeros(3) for i, n in enumerate(lengths)]
        np.testing.assert_allclose(layer(spoilt, lengths), expected, rtol=1e-12)
        np.testing.assert_allclose(layer(x), [function(row) for row in x], rtol=1e-12)
        check_gradient(layer, x)
        check_gradient(layer, x, lengths)
        np.testing.assert_array_equal(layer(x[:, :0]), np.zeros((4, 3)))


def test_merging_makes_one_of_two_halves() -> None:
    x = normal(2, 3, 6)
    a, b = x[..., :3], x[..., 3:]
    for mode, expected in {"sum": a + b, "mean": (a + b) / 2, "product": a * b}.items():
        np.testing.assert_allclose(Merging(mode)(x), expected, rtol=1e-12)
        check_gradient(Merging(mode), x)


def test_reversal_leaves_padding_where_it_is() -> None:
    x, lengths = normal(3, 4, 2), np.array([4, 2, 0])
    y = Reversal()(x, lengths)
    np.testing.assert_array_equal(y[0], x[0, ::-1])
    np.testing.assert_array_equal(y[1], x[1, [1, 0, 2, 3]])
    np.testing.assert_array_equal(y[2], x[2])
    np.testing.assert_array_equal(Reversal()(x), x[:, ::-1])
    check_gradient(Reversal(), x)
    check_gradient(Reversal(), x, lengths)


def test_masking_says_which_steps_are_read() -> None:
    x = np.array([[[0, 0], [0, 1], [-1, -1]]])
    np.testing.assert_array_equal(Masking()(x), [[False, True, True]])
    mask, tape = Masking(-1).forward(x)
    np.testing.assert_array_equal(mask, [[True, True, False]])
    assert Masking(-1).value == -1
    with pytest.raises(ValueError, match="one of this Masking's forward, got one of another"):
        Masking().backward(tape, None)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Activation("swish"), f"name: expected one of {', '.join(map(repr, NAMES))}, got "),
        (lambda: Activation("tanh", 0.1), "alpha: expected None for 'tanh', got 0.1"),
        (lambda: Activation("elu", 1, 0.1), "beta: expected None for 'elu', got 0.1"),
        (lambda: Activation("elu", "1"), "alpha: expected a number, got '1'"),
        (lambda: Activation("tanh")("x"), "x: expected real numbers, got dtype <U1"),
        (lambda: Pooling("first"), "kind: expected one of 'last', 'mean', 'max', got 'first'"),
        (lambda: Pooling()([[1.0]]), "x: expected (B, T, F), got (1, 1)"),
        (lambda: Pooling()([[[1.0]]], [2]), "lengths: expected integers in [0, 1], got 2 at index"),
        (lambda: Merging("concat"), "mode: expected one of 'sum', 'mean', 'product', got 'concat'"),
        (lambda: Merging("sum")([1.0]), "x: expected (..., 2 F), two halves of features, got (1,)"),
        (lambda: Reversal()([1.0]), "x: expected (B, T, F), got (1,)"),
        (lambda: Masking("a"), "value: expected a number, got 'a'"),
        (lambda: Masking(0, "last"), "skipped: expected one of 'zeros', 'repeat', got 'last'"),
    ],
)
def test_errors_name_the_argument(build: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        build()
    assert str(caught.value).startswith(text)
