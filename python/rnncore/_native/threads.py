"""How many threads the kernels use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rnncore._checks import positive_int
from rnncore._native.isa import core

_MAX_THREADS = 256  # as the binding has it


def get_num_threads() -> int:
    """Return how many threads a kernel may use.

    It starts at what OMP_NUM_THREADS and the CPU affinity allow. One call uses at most 32.
    """
    return core.num_threads()


def set_num_threads(threads: int) -> None:
    """Set how many threads a kernel may use; results are the same bits at any number.

    One call uses at most 32. Calls that several Python threads make at the same time do not add up:
    one of them has the helpers, the others run alone.

    Raises
    ------
    TypeError, ValueError
        If `threads` is no integer in [1, 256].
    """
    core.set_num_threads(positive_int("threads", threads, _MAX_THREADS))


_lock = threading.Lock()
_inside: list[int] = []  # the limits that hold now
_before = 0  # what was set before the first of them


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Let the kernels use so many threads at most inside, also for other Python threads meanwhile.

    What was set before comes back, unless somebody has set another number inside.
    """
    global _before
    with _lock:
        if not _inside:
            _before = core.num_threads()
        _inside.append(threads)
        core.set_num_threads(min(_before, *_inside))
    try:
        yield
    finally:
        with _lock:
            own = core.num_threads() == min(_before, *_inside)
            _inside.remove(threads)
            if own:
                core.set_num_threads(min([_before, *_inside]))
