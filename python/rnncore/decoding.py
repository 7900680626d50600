"""From logits to tokens: greedy choice, and samples with temperature and top-k."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnncore._arrays import Array, Seed, as_numpy, generator, number, positive_int, refuse


def check_temperature(temperature: Any) -> float:
    """Return a temperature as a float; TypeError for no number, ValueError unless in [0, inf)."""
    value = number("temperature", temperature, "a number >= 0")
    if not 0 <= value < math.inf:
        raise ValueError(f"temperature: expected a finite number >= 0, got {temperature!r}")
    return value


def check_top_k(top_k: Any, size: int) -> int | None:
    """Return top_k as an int, or None; ValueError outside [1, V], V = `size` the classes."""
    return None if top_k is None else positive_int("top_k", top_k, size)


def sample(
    logits: Any, temperature: float = 1.0, top_k: int | None = None, rng: Seed = None
) -> Array:
    """Draw one token per row from softmax(logits / temperature).

    Parameters
    ----------
    logits : array_like, shape (B, V)
        Scores before the softmax; -inf excludes a token.
    temperature : float
        Below 1 sharpens the distribution, above 1 flattens it; 0 takes the greatest logit, the
        first of equals.
    top_k : int, optional
        Draw among the k greatest logits only (and those equal to the k-th).
    rng : int, numpy.random.Generator or None
        One uniform number is drawn for each row, none at temperature 0.

    Returns
    -------
    tokens : numpy.ndarray of int64, shape (B,)

    Raises
    ------
    TypeError
        If logits holds no real numbers, or an option is of the wrong type.
    ValueError
        If logits has another shape, holds NaN or +inf or no finite number in a row, temperature
        is negative or not finite, or top_k is outside [1, V].
    """
    z = as_numpy("logits", logits)
    if z.dtype.kind not in "fiu":
        raise TypeError(f"logits: expected real numbers, got dtype {z.dtype}")
    if z.ndim != 2 or z.shape[1] == 0:
        raise ValueError(f"logits: expected (B, V) with V >= 1, got {z.shape}")
    temperature, top_k = check_temperature(temperature), check_top_k(top_k, z.shape[1])
    source = generator(rng)
    z = z.astype(np.float64)
    refuse("logits", z, np.isnan(z) | (z == np.inf), "numbers below infinity")
    best = z.max(axis=1, keepdims=True)
    refuse("logits", best[:, 0], best[:, 0] == -np.inf, "a finite number in each row")
    if temperature == 0:
        return np.asarray(z.argmax(axis=1))
    if top_k is not None and top_k < z.shape[1]:
        least = np.partition(z, -top_k, axis=1)[:, -top_k, None]
        z = np.where(z >= least, z, -np.inf)
    with np.errstate(over="ignore"):  # a tiny temperature: -inf is right
        share = np.exp((z - best) / temperature)
    share = share.cumsum(axis=1)
    # 1 - random() lies in (0, 1]: the first sum that reaches it belongs to a token of share > 0
    wanted = (1.0 - source.random((len(z), 1))) * share[:, -1:]
    return np.asarray((share >= wanted).argmax(axis=1))
