"""How many threads the kernels use."""

from __future__ import annotations

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
