"""Optimizer steps on flat buffers that are checked already, each in place."""

from __future__ import annotations

import math

from rnncore._native.isa import core
from rnncore._types import Array


def sgd_step(
    parameters: Array,
    grads: Array,
    velocity: Array | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    """Move the parameters by gradient descent; velocity is None without momentum."""
    core.sgd_step(parameters, grads, velocity, lr, momentum, nesterov, weight_decay)


def adam_step(
    parameters: Array,
    grads: Array,
    moments: tuple[Array, Array],
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Move the parameters by Adam, or by AdamW if `decoupled`; the first step is number 1."""
    m, v = moments
    core.adam_step(parameters, grads, m, v, step, lr, *betas, eps, weight_decay, decoupled)


def norm(grads: Array) -> float:
    """Return the Euclidean norm, summed in float64."""
    return math.sqrt(core.squared_norm(grads))


def scale(grads: Array, factor: float) -> None:
    """Multiply by a factor."""
    core.scale(grads, factor)
