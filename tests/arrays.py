"""Random arrays and states, and comparisons of whole nests of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import rnncore


def normal(*shape: int, seed: int = 1, dtype: Any = np.float64) -> Any:
    """Standard normal numbers; arrays of two shapes have nothing in common."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def zeros(*shape: int) -> Any:
    """Zeros in float32, the dtype that users have by default."""
    return np.zeros(shape, np.float32)


def random_state(layer: Any, B: int | None, seed: int = 7) -> Any:
    """A state of the recurrent layers, in their dtype; B None: of one sequence."""
    batch = () if B is None else (B,)
    K = layer.num_layers * (2 if layer.bidirectional else 1)
    h = normal(K, *batch, layer.proj_size or layer.hidden_size, seed=seed, dtype=layer.dtype)
    if not isinstance(layer, rnncore.LSTM):
        return h
    c = normal(K, *batch, layer.hidden_size, seed=seed + 1, dtype=layer.dtype)
    return rnncore.LSTMState(h, c)


def flat(value: Any) -> list[Any]:
    """All arrays in a nest of tuples and lists."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in flat(item)]
    return [value]


def assert_same(got: Any, expected: Any) -> None:
    """Equal values in every array of two nests."""
    for g, e in zip(flat(got), flat(expected), strict=True):
        np.testing.assert_array_equal(g, e)
