"""alone: one training of a model at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

_lock = Lock()
_training: set[int] = set()  # the memory of gradients that some `fit` of this process writes to


@contextmanager
def alone(model: Any) -> Iterator[None]:
    """Let the body train a model; RuntimeError if a training of it, or of a part, goes on."""
    memory = id(model.flat_grads.base)
    with _lock:
        if memory in _training:
            kind = type(model).__name__
            raise RuntimeError(
                f"fit: expected a model that no other fit is training, got a {kind} in the middle "
                "of a training; train a copy (copy.deepcopy), or wait until it ends"
            )
        _training.add(memory)
    try:
        yield
    finally:
        _training.discard(memory)
