"""Layers whose outputs feed back, with random parameters and states, and how answers compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from arrays import flat, normal, random_state
from rnncore import FeedbackState

U, Q = "output_to_hidden", "output_to_output"
ALL = ("hidden", U, Q)
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def make(kind: Any, I: int = 3, H: int = 7, seed: int = 0, **options: Any) -> Any:  # noqa: E741
    """A float64 layer; every parameter is random, biases too."""
    layer = kind(I, H, **{"dtype": np.float64, "rng": seed} | options)
    layer.flat_parameters[...] = 0.4 * normal(layer.flat_parameters.size, seed=seed + 5)
    return layer


def full_state(layer: Any, B: int | None, seed: int = 7) -> FeedbackState:
    batch = () if B is None else (B,)
    D = max(layer.feedback_delays)
    y = normal(*batch, D, layer.output_size, seed=seed + 2)
    return FeedbackState(random_state(layer, B, seed), y)


def assert_close(got: Any, expected: Any, **tolerance: float) -> None:
    got, expected = flat(got), flat(expected)
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert g.shape == e.shape
        np.testing.assert_allclose(g, e, **(tolerance or CLOSE))


def gradients(
    layer: Any, tape: Any, dy: Any, dstate: Any = None
) -> tuple[Any, Any, dict[str, Any]]:
    """dx, dstate and the parameters' gradients of one backward."""
    layer.zero_grad()
    dx, first = layer.backward(tape, dy, dstate)
    return dx, first, {name: grad.copy() for name, grad in layer.grads.items()}
