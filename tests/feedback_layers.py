"""Layers whose outputs feed back, with random parameters and states, and how answers compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import rnncore
from rnncore import FeedbackState, LSTMState

U, Q = "output_to_hidden", "output_to_output"
ALL = ("hidden", U, Q)
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def normal(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def make(kind: Any, I: int = 3, H: int = 7, seed: int = 0, **options: Any) -> Any:  # noqa: E741
    """A float64 layer; every parameter is random, biases too."""
    layer = kind(I, H, **{"dtype": np.float64, "rng": seed} | options)
    layer.flat_parameters[...] = 0.4 * normal(layer.flat_parameters.size, seed=seed + 5)
    return layer


def hidden_state(layer: Any, B: int | None, seed: int = 7) -> Any:
    """A random state of the recurrent layers; B None: of one sequence."""
    batch = () if B is None else (B,)
    K = layer.num_layers * (2 if layer.bidirectional else 1)
    h = normal(K, *batch, layer.proj_size or layer.hidden_size, seed=seed)
    if not isinstance(layer, rnncore.LSTM):
        return h
    return LSTMState(h, normal(K, *batch, layer.hidden_size, seed=seed + 1))


def full_state(layer: Any, B: int | None, seed: int = 7) -> FeedbackState:
    batch = () if B is None else (B,)
    D = max(layer.feedback_delays)
    y = normal(*batch, D, layer.output_size, seed=seed + 2)
    return FeedbackState(hidden_state(layer, B, seed), y)


def flat(value: Any) -> list[Any]:
    """All arrays in a nest of tuples and lists."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in flat(item)]
    return [value]


def assert_close(got: Any, expected: Any, **tolerance: float) -> None:
    got, expected = flat(got), flat(expected)
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert g.shape == e.shape
        np.testing.assert_allclose(g, e, **(tolerance or CLOSE))


def assert_same(got: Any, expected: Any) -> None:
    for g, e in zip(flat(got), flat(expected), strict=True):
        np.testing.assert_array_equal(g, e)


def gradients(
    layer: Any, tape: Any, dy: Any, dstate: Any = None
) -> tuple[Any, Any, dict[str, Any]]:
    """dx, dstate and the parameters' gradients of one backward."""
    layer.zero_grad()
    dx, first = layer.backward(tape, dy, dstate)
    return dx, first, {name: grad.copy() for name, grad in layer.grads.items()}
