"""How many numbers modules may have that are built for an unknown file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_left: ContextVar[list[int] | None] = ContextVar("size_limit", default=None)  # a list of one


@contextmanager
def size_limit(numbers: int) -> Iterator[None]:
    """Refuse to build, inside, modules of more parameters in all: for sizes of unknown files."""
    token = _left.set([numbers])
    try:
        yield
    finally:
        _left.reset(token)


def take_numbers(size: int) -> None:
    """Count the parameters of a module; ValueError where there is a limit and they exceed it."""
    left = _left.get()
    if left is None:
        return
    if size > left[0]:
        raise ValueError(f"parameters: expected at most {left[0]} numbers, got {size}")
    left[0] -= size
