"""Good calls of the raw binding's functions beside the layers': arguments by name, as they come.

What a function assigns is prefilled with NaN, what it adds to is zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arguments = dict[str, Any]


class Draw:
    """Random arguments of N rows, I features and O outputs, in one floating-point type."""

    def __init__(self, seed: int, N: int, I: int, O: int, dtype: Any) -> None:  # noqa: E741
        self.rng = np.random.default_rng(seed)
        self.N, self.I, self.O, self.dtype = N, I, O, np.dtype(dtype)

    def normal(self, *shape: int) -> Array:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def positive(self, *shape: int) -> Array:
        return self.rng.uniform(0.1, 1, shape).astype(self.dtype)

    def integers(self, most: int, *shape: int) -> Array:
        return self.rng.integers(0, max(most, 1), shape)

    def flags(self, *shape: int) -> Array:
        return self.rng.random(shape) < 0.7

    def empty(self, *shape: int) -> Array:
        return np.full(shape, np.nan, self.dtype)

    def zeros(self, *shape: int) -> Array:
        return np.zeros(shape, self.dtype)


def _linear_forward(d: Draw) -> Arguments:
    return {
        "x": d.normal(d.N, d.I),
        "weight": d.normal(d.O, d.I),
        "bias": d.normal(d.O),
        "y": d.empty(d.N, d.O),
        "batch_invariant": bool(d.N % 2),
    }


def _linear_backward(d: Draw) -> Arguments:
    return {
        "x": d.normal(d.N, d.I),
        "weight": d.normal(d.O, d.I),
        "dy": d.normal(d.N, d.O),
        "dx": d.empty(d.N, d.I),
        "dweight": d.zeros(d.O, d.I),
        "dbias": d.zeros(d.O),
    }


def _embedding_forward(d: Draw) -> Arguments:
    indices = d.integers(d.O, d.N)
    return {"indices": indices, "weight": d.normal(d.O, d.I), "y": d.empty(d.N, d.I)}


def _embedding_backward(d: Draw) -> Arguments:
    indices = d.integers(d.O, d.N)
    return {"indices": indices, "dy": d.normal(d.N, d.I), "dweight": d.zeros(d.O, d.I)}


def _dropout_mask(d: Draw) -> Arguments:
    return {"mask": d.empty(d.N, d.I), "rate": 0.3, "seed": 2**63 + 5, "purpose": 2**31 + 1}


def _apply_mask(d: Draw) -> Arguments:
    x, mask = d.normal(3, d.N, d.I), d.normal(d.N, d.I)
    return {"x": x, "mask": mask, "to": d.empty(3, d.N, d.I)}


def _elementwise(first: str, outputs: int = 1, **options: Any) -> Callable[[Draw], Arguments]:
    """A loss of targets (N, O) with some outputs for each; `options` before the gradient."""

    def make(d: Draw) -> Arguments:
        arguments = {
            first: d.normal(d.N, d.O * outputs),
            "target": d.positive(d.N, d.O),
            "mask": d.flags(d.N, d.O) if d.N % 2 else d.flags(d.N),
            "weights": d.positive(d.N),
        }
        for name, value in options.items():
            arguments[name] = value(d) if callable(value) else value
        return arguments | {f"d{first}": d.empty(d.N, d.O * outputs)}

    return make


def _softmax_cross_entropy(d: Draw) -> Arguments:
    return {
        "logits": d.normal(d.N, d.O),
        "labels": d.integers(d.O, d.N),
        "mask": d.flags(d.N),
        "weights": d.positive(d.N),
        "ignore_index": 0,
        "dlogits": d.empty(d.N, d.O),
    }


def _ctc(d: Draw) -> Arguments:
    T, S, V = 2 * d.I, max(d.I // 3, 1), d.O + 1
    return {
        "logits": d.normal(T, d.N, V),
        "labels": 1 + d.integers(V - 1, d.N, S),
        "lengths": d.integers(T + 1, d.N),
        "label_lengths": d.integers(S + 1, d.N),
        "blank": 0,
        "mask": d.flags(d.N),
        "weights": d.positive(d.N),
        "dlogits": d.empty(T, d.N, V),
    }


def _sgd_step(d: Draw) -> Arguments:
    n = d.N * d.I
    return {
        "params": d.normal(n),
        "grads": d.normal(n),
        "velocity": d.normal(n),
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.01,
    }


def _adam_step(d: Draw) -> Arguments:
    n = d.N * d.I
    arrays = {"params": d.normal(n), "grads": d.normal(n), "m": d.normal(n), "v": d.positive(n)}
    options = {"step": 3, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    return arrays | options | {"weight_decay": 0.01, "decoupled": False}


def _gate_function(d: Draw) -> Arguments:
    n = d.N * d.I
    function = ("sigmoid", 1.0, 0.0)
    return {
        "function": function,
        "clip": 3.0,
        "z": d.normal(n),
        "y": d.empty(n),
        "derivative": d.empty(n),
    }


def _activate(d: Draw) -> Arguments:
    return {"activation": "softmax", "y": d.normal(d.N, d.O)}


def _activate_backward(d: Draw) -> Arguments:
    return {"activation": "softmax", "y": d.positive(d.N, d.O), "dy": d.normal(d.N, d.O)}


def _split_bfloat16(d: Draw) -> Arguments:
    n = d.N * d.I
    return {"x": d.normal(n).astype(np.float32), "parts": np.full((3, n), np.nan, np.float32)}


class Function(NamedTuple):
    """How its arguments are made, and which it writes into."""

    make: Callable[[Draw], Arguments]
    outputs: tuple[str, ...]


FUNCTIONS = {
    "linear_forward": Function(_linear_forward, ("y",)),
    "linear_backward": Function(_linear_backward, ("dx", "dweight", "dbias")),
    "embedding_forward": Function(_embedding_forward, ("y",)),
    "embedding_backward": Function(_embedding_backward, ("dweight",)),
    "dropout_mask": Function(_dropout_mask, ("mask",)),
    "apply_mask": Function(_apply_mask, ("to",)),
    "mean_squared_error": Function(_elementwise("y"), ("dy",)),
    "mean_absolute_error": Function(_elementwise("y"), ("dy",)),
    "huber": Function(_elementwise("y", delta=0.7), ("dy",)),
    "quantile": Function(_elementwise("y", levels=lambda d: d.positive(d.O)), ("dy",)),
    "binary_cross_entropy": Function(_elementwise("logits"), ("dlogits",)),
    "gaussian_negative_log_likelihood": Function(
        _elementwise("y", 2, least_variance=1e-6), ("dy",)
    ),
    "student_t_negative_log_likelihood": Function(
        _elementwise("y", 3, least_variance=1e-6), ("dy",)
    ),
    "softmax_cross_entropy": Function(_softmax_cross_entropy, ("dlogits",)),
    "ctc": Function(_ctc, ("dlogits",)),
    "sgd_step": Function(_sgd_step, ("params", "velocity")),
    "adam_step": Function(_adam_step, ("params", "m", "v")),
    "squared_norm": Function(lambda d: {"grads": d.normal(d.N * d.I)}, ()),
    "scale": Function(lambda d: {"grads": d.normal(d.N * d.I), "factor": 0.7}, ("grads",)),
    "gate_function": Function(_gate_function, ("y", "derivative")),
    "activate": Function(_activate, ("y",)),
    "activate_backward": Function(_activate_backward, ("dy",)),
    "split_bfloat16": Function(_split_bfloat16, ("parts",)),
}


def make(name: str, seed: int, N: int, I: int, O: int, dtype: Any = np.float32) -> Arguments:  # noqa: E741
    """Arguments of core.`name`; they are in the binding's order."""
    return FUNCTIONS[name].make(Draw(seed, N, I, O, dtype))
