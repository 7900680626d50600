"""Rows of a table by their indices. Checks nothing but the indices' range, which C++ reads."""

from __future__ import annotations

from rnncore._native.isa import core
from rnncore._types import Array


def embedding_forward(indices: Array, weight: Array, y: Array) -> None:
    """Write the rows (N, D) of the table (V, D) that indices (N,) name."""
    core.embedding_forward(indices, weight, y)


def embedding_backward(indices: Array, dy: Array, dweight: Array) -> None:
    """Add rows dy (N, D) to those of dweight (V, D) that indices (N,) name."""
    core.embedding_backward(indices, dy, dweight)
