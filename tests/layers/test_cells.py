"""RNNCell, LSTMCell, GRUCell: against torch, against the layers, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal

pytestmark = pytest.mark.per_variant

CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")


def make(cell: str, *sizes: int, **options: Any) -> Any:
    if cell.startswith("rnn"):
        return rnncore.RNNCell(*sizes, nonlinearity=cell.removeprefix("rnn_"), **options)
    return {"lstm": rnncore.LSTMCell, "gru": rnncore.GRUCell}[cell](*sizes, **options)


def random_state(cell: str, *shape: int, seed: int = 2) -> Any:
    h, c = normal(2, *shape, seed=seed)
    return rnncore.LSTMState(h, c) if cell == "lstm" else h


@pytest.mark.parametrize("single", [False, True], ids=["batch", "single"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("cell", CELLS)
def test_step_and_every_gradient_match_torch(
    torch: Any, cell: str, bias: bool, single: bool
) -> None:
    torch.manual_seed(3)
    options = {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn") else {}
    kind = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}.get(cell, torch.nn.RNNCell)
    peer = kind(9, 17, bias=bias, dtype=torch.float64, **options)
    ours = make(cell, 9, 17, bias=bias, dtype="float64")
    ours.load_state_dict(peer.state_dict())
    batch = () if single else (5,)
    x, state = normal(*batch, 9), random_state(cell, *batch, 17)
    dstate = random_state(cell, *batch, 17, seed=4)

    def arrays(state: Any) -> list[Any]:
        return list(state) if cell == "lstm" else [state]

    leaves = [torch.tensor(a, requires_grad=True) for a in (x, *arrays(state))]
    result = peer(leaves[0], tuple(leaves[1:]) if cell == "lstm" else leaves[1])
    results = arrays(result)
    cotangents = [torch.tensor(a) for a in arrays(dstate)]
    torch.autograd.backward(results, cotangents)

    new, tape = ours.forward(x, state)
    dx, dstate_0 = ours.backward(tape, dstate)
    assert isinstance(new, rnncore.LSTMState) == (cell == "lstm")
    pairs = [*zip(arrays(new), results, strict=True), (dx, leaves[0].grad)]
    pairs += zip(arrays(dstate_0), (leaf.grad for leaf in leaves[1:]), strict=True)
    pairs += [(ours.grads[name], value.grad) for name, value in peer.named_parameters()]
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(np.asarray(ours(x, state)), np.asarray(new))


@pytest.mark.parametrize("cell", CELLS)
def test_cells_in_a_loop_are_the_layer(cell: str) -> None:
    kind = {"lstm": rnncore.LSTM, "gru": rnncore.GRU}.get(cell, rnncore.RNN)
    options = {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn") else {}
    layer = kind(9, 17, dtype="float64", rng=0, **options)
    step = make(cell, 9, 17, dtype="float64")
    step.load_state_dict({name.removesuffix("_l0"): a for name, a in layer.parameters.items()})
    x, state = normal(3, 6, 9), random_state(cell, 3, 17)
    first = rnncore.LSTMState(*(a[None] for a in state)) if cell == "lstm" else state[None]
    _, final, layer_tape = layer.forward(x, first)
    tapes = []
    for t in range(6):
        state, tape = step.forward(x[:, t], state)
        tapes.append(tape)
    np.testing.assert_allclose(np.asarray(state), np.asarray(final)[..., 0, :, :], rtol=1e-12)
    dfinal = random_state(cell, 3, 17, seed=6)
    dstate = dfinal
    for t in reversed(range(6)):
        dx_t, dstate = step.backward(tapes[t], dstate)
    last = rnncore.LSTMState(*(a[None] for a in dfinal)) if cell == "lstm" else dfinal[None]
    dx, dstate_0 = layer.backward(layer_tape, None, last)
    np.testing.assert_allclose(dx_t, dx[:, 0], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(
        np.asarray(dstate), np.asarray(dstate_0)[..., 0, :, :], rtol=1e-10, atol=1e-13
    )
    for name, grad in step.grads.items():
        np.testing.assert_allclose(grad, layer.grads[f"{name}_l0"], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_no_state_means_zeros(cell: str) -> None:
    step = make(cell, 4, 5, rng=0)
    x = normal(3, 4).astype(np.float32)
    zeros = np.zeros((3, 5), np.float32)
    expected = step(x, rnncore.LSTMState(zeros, zeros) if cell == "lstm" else zeros)
    np.testing.assert_array_equal(np.asarray(step(x)), np.asarray(expected))


def test_wrong_arguments_change_nothing() -> None:
    step, other = rnncore.LSTMCell(4, 5, rng=0), rnncore.LSTMCell(4, 5, rng=0)
    x = normal(3, 4).astype(np.float32)
    state, tape = step.forward(x)
    h, c = state
    x_text = "x: expected (B, I) or (I,) with I = 4, got "
    cases: list[tuple[type[Exception], str, Any]] = [
        (ValueError, x_text + "(3, 5)", lambda: step(h)),
        (ValueError, x_text + "()", lambda: step(1)),
        (ValueError, x_text + "(1, 3, 4)", lambda: step(x[None])),
        (TypeError, "x: expected real numbers", lambda: step(x.astype(complex))),
        (TypeError, "state: expected LSTMState(h, c), got ndarray", lambda: step(x, h)),
        (ValueError, "state.h: expected (B, H) = (3, 5), got", lambda: step(x, (h[:2], c))),
        (ValueError, "state.c: expected (H,) = (5,), got", lambda: step(x[0], (h[0], c[:1]))),
        (ValueError, "tape: expected one of this", lambda: other.backward(tape, state)),
        (
            TypeError,
            "tape: expected the CellTape of forward, got str",
            lambda: step.backward("tape", state),
        ),
        (ValueError, "dstate.h: expected (B, H) = (3, 5)", lambda: step.backward(tape, (x, x))),
    ]
    for error, text, call in cases:
        with pytest.raises(error, match=re.escape(text)):
            call()
    assert not step.flat_grads.any()
    step.backward(tape, state)
    with pytest.raises(ValueError, match="tape: already used"):
        step.backward(tape, state)


@pytest.mark.parametrize("kind", [rnncore.RNNCell, rnncore.LSTMCell, rnncore.GRUCell])
def test_wrong_options(kind: Any) -> None:
    for error, text, options in (
        (ValueError, "input_size: expected", {"input_size": 0}),
        (TypeError, "hidden_size: expected", {"hidden_size": 5.0}),
        (TypeError, "bias: expected True or False", {"bias": 1}),
        (ValueError, "dtype: expected float32 or float64", {"dtype": int}),
        (ValueError, "init: expected one of", {"init": "zeros"}),
        (TypeError, "rng: expected an int", {"rng": "seed"}),
    ):
        with pytest.raises(error, match=text):
            kind(**({"input_size": 4, "hidden_size": 5} | options))
    with pytest.raises(ValueError, match="nonlinearity: expected one of 'sigmoid', 'tanh'"):
        rnncore.RNNCell(4, 5, nonlinearity="step")


def test_initial_values_repr_and_copies() -> None:
    step = rnncore.LSTMCell(4, 5, rng=0)
    np.testing.assert_array_equal(step.parameters["bias_ih"][5:10], 1)
    R = step.parameters["weight_hh"][:5]
    np.testing.assert_allclose(R @ R.T, np.eye(5), atol=1e-6)
    assert repr(step) == "LSTMCell(4, 5)"
    relu = rnncore.RNNCell(4, 5, nonlinearity="relu", bias=False, dtype="float64")
    assert repr(relu) == "RNNCell(4, 5, bias=False, dtype='float64', nonlinearity='relu')"
    x = normal(3, 4).astype(np.float32)
    for again in (copy.deepcopy(step), pickle.loads(pickle.dumps(step))):
        np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(step(x)))
        again.flat_parameters[...] = 0
        assert not np.asarray(again(x)).any()
        assert np.asarray(step(x)).any()
