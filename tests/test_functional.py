"""The functional API: against the layers, its output arrays, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal
from rnncore import functional as F  # noqa: N812

pytestmark = pytest.mark.per_variant

KINDS = {"rnn_tanh": rnncore.RNN, "lstm": rnncore.LSTM, "gru": rnncore.GRU}
CELLS = tuple(KINDS)


def problem(cell: str, bias: bool = True) -> tuple[Any, F.Weights, Any, Any]:
    """A float64 layer, its weights, x (T, B, I) = (6, 3, 9) and a state (B, H) = (3, 17)."""
    layer = KINDS[cell](9, 17, bias=bias, dtype="float64", rng=0, init="torch", batch_first=False)
    weights = F.Weights(*layer.parameters.values())
    h, c = normal(2, 3, 17, seed=2)
    return layer, weights, normal(6, 3, 9), F.LSTMState(h, c) if cell == "lstm" else h


def stacked(state: Any) -> Any:
    return F.LSTMState(*(a[None] for a in state)) if isinstance(state, tuple) else state[None]


@pytest.mark.parametrize("lengths", [None, [2, 6, 0]], ids=["full", "lengths"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("cell", CELLS)
def test_functions_equal_the_layer(cell: str, bias: bool, lengths: Any) -> None:
    layer, weights, x, state = problem(cell, bias)
    y, final, tape = F.forward(cell, x, state, weights, lengths=lengths)
    y_l, final_l, tape_l = layer.forward(x, stacked(state), lengths=lengths)
    np.testing.assert_array_equal(y, y_l)
    np.testing.assert_array_equal(np.asarray(stacked(final)), np.asarray(final_l))
    y_i, final_i = F.infer(cell, x, state, weights, lengths=lengths)
    np.testing.assert_array_equal(y_i, y)
    np.testing.assert_array_equal(np.asarray(final_i), np.asarray(final))
    dy = normal(6, 3, 17, seed=5)
    dx, dstate, grads = F.backward(tape, dy, state)
    dx_l, dstate_l = layer.backward(tape_l, dy, stacked(state))
    np.testing.assert_array_equal(dx, dx_l)
    np.testing.assert_array_equal(np.asarray(stacked(dstate)), np.asarray(dstate_l))
    assert (grads.bias_ih is not None) == bias
    for grad, expected in zip(grads, layer.grads.values(), strict=False):
        np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_reverse_is_the_forward_pass_of_the_reversed_sequence(cell: str) -> None:
    _, weights, x, state = problem(cell)
    y, final, tape = F.forward(cell, x, state, weights, reverse=True)
    y_f, final_f, tape_f = F.forward(cell, x[::-1], state, weights)
    np.testing.assert_allclose(y, y_f[::-1], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(final), np.asarray(final_f), rtol=1e-12)
    dx, _, grads = F.backward(tape, y)
    dx_f, _, grads_f = F.backward(tape_f, y[::-1])
    np.testing.assert_allclose(dx, dx_f[::-1], rtol=1e-11)
    for a, b in zip(grads, grads_f, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_results_go_into_given_arrays() -> None:
    _, weights, x, state = problem("gru")
    expected, _, tape = F.forward("gru", x, state, weights)
    dx_expected, _, grads_expected = F.backward(tape, expected)
    wide = np.full((3, 6, 40), np.nan)  # batch-major, and y is a part of its features
    y = wide.transpose(1, 0, 2)[..., 5:22]
    got, _, tape = F.forward("gru", x, state, weights, y=y)
    assert got is y
    np.testing.assert_array_equal(y, expected)
    assert np.isnan(wide[..., :5]).all()
    assert np.isnan(wide[..., 22:]).all()
    np.testing.assert_array_equal(F.infer("gru", x, state, weights, y=y)[0], expected)
    dx = np.full((3, 6, 9), np.nan).transpose(1, 0, 2)
    grads = F.Weights(*(np.ones_like(w) for w in weights if w is not None))
    got_dx, _, got_grads = F.backward(tape, expected, dx=dx, grads=grads)
    assert got_dx is dx
    assert got_grads is grads
    np.testing.assert_array_equal(dx, dx_expected)
    for grad, fresh in zip(grads, grads_expected, strict=True):
        np.testing.assert_allclose(grad, fresh + 1, rtol=1e-12)
    _, _, tape = F.forward("gru", x, state, weights)
    assert F.backward(tape, expected, input_gradient=False)[0] is None


def test_weights_of_any_layout() -> None:
    _, weights, x, state = problem("lstm")
    expected = F.infer("lstm", x, state, weights)[0]
    for change in (
        np.asfortranarray,
        lambda w: w.astype(">f8"),
        lambda w: w[::-1].copy()[::-1],
        lambda w: np.repeat(w, 2, -1)[..., ::2],
    ):
        changed = F.Weights(*(change(w) for w in weights))
        np.testing.assert_array_equal(F.infer("lstm", x, state, changed)[0], expected)


def test_no_state_and_no_gradient_mean_zeros() -> None:
    _, weights, x, state = problem("lstm")
    zeros = F.LSTMState(np.zeros((3, 17)), np.zeros((3, 17)))
    np.testing.assert_array_equal(
        F.infer("lstm", x, None, weights)[0], F.infer("lstm", x, zeros, weights)[0]
    )
    tapes = [F.forward("lstm", x, state, weights)[2] for _ in range(2)]
    dx, _, _ = F.backward(tapes[0], None, state)
    dx_0, _, _ = F.backward(tapes[1], np.zeros((6, 3, 17)), state)
    np.testing.assert_array_equal(dx, dx_0)
    assert dx.any()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"cell": "LSTM"}, ValueError, "cell: expected one of 'rnn_tanh', "),
        ({"cell": None}, ValueError, "cell: expected one of "),
        (
            {"x": normal(6, 3, 8)},
            ValueError,
            "x: expected (T, B, I) = (any, any, 9), got (6, 3",
        ),
        ({"x": normal(6, 9)}, ValueError, "x: expected (T, B, I) = (any, any, 9), got (6, 9)"),
        ({"state": normal(3, 16)}, ValueError, "state: expected (B, H) = (3, 17), got (3, 16)"),
        ({"lengths": [1, 2, 9]}, ValueError, "lengths: expected integers in [0, 6], got 9"),
        ({"reverse": 1}, TypeError, "reverse: expected True or False, got 1"),
        ({"y": np.zeros((6, 3, 16))}, ValueError, "y: expected (T, B, H) = (6, 3, 17)"),
        ({"y": np.zeros((6, 3, 17), "f4")}, TypeError, "y: expected dtype float64, got float32"),
        ({"y": [0.0]}, TypeError, "y: expected a numpy array, got list"),
        ({"y": np.zeros((6, 17, 3)).transpose(0, 2, 1)}, ValueError, "y: the last dimension must"),
        ({"y": np.broadcast_to(np.zeros(17), (6, 3, 17))}, ValueError, "y: "),
        ({"weights": None}, TypeError, "weights: expected Weights, got NoneType"),
        ({"weights": ()}, TypeError, "weights: expected Weights, got tuple"),
        ({"weight_ih": np.zeros(9)}, ValueError, "weight_ih: expected (G*H, I)"),
        ({"weight_ih": np.zeros((50, 9))}, ValueError, "weight_ih: expected (G*H, I) with G = 3"),
        ({"weight_ih": None}, TypeError, "weight_ih: expected"),
        ({"weight_ih": np.zeros((51, 9), int)}, TypeError, "weight_ih: expected dtype float32 or"),
        ({"weight_hh": None}, ValueError, "weight_hh: expected (G*H, H)"),
        (
            {"weight_hh": np.zeros((51, 16))},
            ValueError,
            "weight_hh: expected (3*H, H) = (51, 17), got (51, 16)",
        ),
        (
            {"weight_hh": np.zeros((51, 17), "f4")},
            TypeError,
            "weight_hh: expected dtype float64, got float32",
        ),
        ({"bias_ih": None}, ValueError, "bias_ih, bias_hh: expected both or none of them"),
        ({"bias_hh": np.zeros(50)}, ValueError, "bias_hh: expected (3*H,) = (51,), got (50,)"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], error: type[Exception], text: str) -> None:
    _, weights, x, state = problem("gru")
    arguments: dict[str, Any] = {"cell": "gru", "x": x, "state": state, "weights": weights}
    for name, value in change.items():
        if name in F.Weights._fields:
            arguments["weights"] = weights._replace(**{name: value})
        else:
            arguments[name] = value
    for call in (F.infer, F.forward):
        with pytest.raises(error, match=re.escape(text)):
            call(**arguments)


def test_outputs_must_not_alias_inputs() -> None:
    _, weights, _, state = problem("gru")
    x = normal(6, 3, 17)
    square = F.Weights(normal(51, 17), *weights[1:])
    before = x.copy()
    with pytest.raises(ValueError, match="y: this output shares memory with x"):
        F.forward("gru", x, state, square, y=x)
    np.testing.assert_array_equal(x, before)
    y, _, tape = F.forward("gru", x, state, square)
    with pytest.raises(ValueError, match="dx: this output shares memory with x"):
        F.backward(tape, y, dx=x)
    np.testing.assert_array_equal(x, before)
    F.backward(tape, y)  # the refused call did not use the tape


def test_wrong_gradients_leave_the_tape_usable() -> None:
    _, weights, x, state = problem("lstm")
    y, _, tape = F.forward("lstm", x, state, weights)
    good = F.Weights(*(np.zeros_like(w) for w in weights))
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (
            ValueError,
            "dy: expected (T, B, H) = (6, 3, 17), got (3, 6, 17)",
            {"dy": normal(3, 6, 17)},
        ),
        (TypeError, "dstate: expected LSTMState(h, c), got ndarray", {"dstate": normal(3, 17)}),
        (
            ValueError,
            "grads.bias_ih: expected an array as in the weights, got None",
            {"grads": good._replace(bias_ih=None)},
        ),
        (
            ValueError,
            "grads.weight_ih: expected the weight's shape = (68, 9), got (68, 8)",
            {"grads": good._replace(weight_ih=np.zeros((68, 8)))},
        ),
        (
            TypeError,
            "grads.weight_hh: expected dtype float64, got float32",
            {"grads": good._replace(weight_hh=np.zeros((68, 17), "f4"))},
        ),
        (TypeError, "grads: expected Weights, got list", {"grads": [1]}),
        (ValueError, "dx: expected (T, B, I) = (6, 3, 9), got (9, 3, 6)", {"dx": normal(9, 3, 6)}),
    ]
    for error, text, options in cases:
        with pytest.raises(error, match=re.escape(text)):
            F.backward(tape, **({"dy": y} | options))
    F.backward(tape, y, grads=good)
    assert all(np.any(grad) for grad in good)
    with pytest.raises(ValueError, match="tape: already used; call forward again"):
        F.backward(tape, y)
    with pytest.raises(TypeError, match="tape: expected what forward returned, got NoneType"):
        F.backward(None, y)  # type: ignore[arg-type]
