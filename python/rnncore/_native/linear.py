"""y = x W^T + b and the activations of a readout, on checked rows. Checks nothing."""

from __future__ import annotations

import math

from rnncore._memory import empty
from rnncore._native.isa import core
from rnncore._types import Array

activate = core.activate
activate_backward = core.activate_backward
linear_backward = core.linear_backward


def linear_forward(x: Array, weight: Array, bias: Array | None, into: Array | None = None) -> Array:
    """Return y (N, O), or `into`, of x (N, I) and weight (O, I), both C-contiguous."""
    y = empty((len(x), len(weight)), x.dtype) if into is None else into
    core.linear_forward(x, weight, bias, y)
    return y


def rows(x: Array) -> Array:
    """Return (..., D) as (N, D), a view where x is C-contiguous."""
    if x.ndim == 2:
        return x
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
