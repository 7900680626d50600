"""y = x W^T + b and the activations of a readout, on checked rows. Checks nothing."""

from __future__ import annotations

import math

from rnncore._memory import empty
from rnncore._native.isa import core
from rnncore._types import Array


def linear_forward(x: Array, weight: Array, bias: Array | None, into: Array | None = None) -> Array:
    """Return y (N, O), or `into`, of x (N, I) and weight (O, I), both C-contiguous."""
    y = empty((len(x), len(weight)), x.dtype) if into is None else into
    core.linear_forward(x, weight, bias, y)
    return y


def linear_backward(
    x: Array, weight: Array, dy: Array, dx: Array | None, dweight: Array, dbias: Array | None
) -> None:
    """Write dx (N, I), unless it is None; add into the others."""
    core.linear_backward(x, weight, dy, dx, dweight, dbias)


def activate(activation: str, y: Array) -> None:
    """Apply a readout's activation to rows (N, O), in place."""
    core.activate(activation, y)


def activate_backward(activation: str, y: Array, dy: Array) -> None:
    """Turn dy, of outputs y (N, O), into the gradient of what was activated, in place."""
    core.activate_backward(activation, y, dy)


def rows(x: Array) -> Array:
    """Return (..., D) as (N, D), a view where x is C-contiguous."""
    if x.ndim == 2:
        return x
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
