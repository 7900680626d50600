"""recomputing: tapes that keep a few states alone, while a model trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def recomputing(model: Any, recompute: Any) -> Iterator[None]:
    """Set the model's `recompute`, and what it was before at the end; None changes nothing.

    ValueError or TypeError if the model has none, its core can't, or it is no positive integer.
    """
    if recompute is None:
        yield
        return
    before = getattr(model, "recompute", None)
    if before is None:
        kind = type(model).__name__
        raise ValueError(
            f"recompute: expected None for a {kind}, which keeps whole tapes, got {recompute!r}"
        )
    model.recompute = model.core.read_recompute(recompute)
    try:
        yield
    finally:
        model.recompute = before
