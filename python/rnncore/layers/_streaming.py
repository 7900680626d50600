"""Long generations cut into parts."""

from __future__ import annotations

_LEAST = 16  # steps of a part


def interruptible_parts(T: int, multiply_adds: int) -> list[slice]:
    """Cut T steps of so many multiply-adds each into parts of some 50 ms, so that Ctrl-C is heard.

    A part has 16 steps at least; a short rest goes with the part before it.
    """
    work = multiply_adds + 10_000  # what calling a step costs besides
    steps = max(_LEAST, int(1e9 / work))
    starts = list(range(0, max(T - _LEAST + 1, 1), steps))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], T], strict=True)]
