"""Masks of dropout that follow from a seed, and what they are applied to. Checks nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._memory import empty
from rnncore._native.isa import core
from rnncore._types import Array


def dropout_mask(
    shape: tuple[int, int], dtype: np.dtype[Any], rate: float, seed: int, purpose: int
) -> Array:
    """Return 0 with probability `rate`, else 1 / (1 - rate): inverted dropout keeps the mean.

    Each number follows from seed (64 bits), purpose (32 bits: what the mask is for), row and column
    alone: a Philox4x32-7 counter.
    """
    mask = empty(shape, dtype)
    core.dropout_mask(mask, rate, seed, purpose)
    return mask


def apply_mask(x: Array, mask: Array, to: Array | None = None) -> None:
    """Write x (T, B, D) times the mask (B, D) at every step; in place without `to`."""
    core.apply_mask(x, mask, to)
