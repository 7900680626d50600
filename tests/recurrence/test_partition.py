"""The cost rule: who runs which rows and units."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = core.num_threads()
    core.set_num_threads(4)
    yield
    core.set_num_threads(before)


def lstm(T: int, B: int, H: int) -> tuple[int, int]:
    """Parts of rows and units for a float32 LSTM on 16-wide packets, I = H."""
    panels = -(-H // 16)
    parts: tuple[int, int] = core.partition(T, B, panels, 4 * H, 64, T * B * 4.0 * panels * H)
    return parts


@pytest.mark.usefixtures("four_threads")
def test_the_rule_by_shape() -> None:
    assert lstm(100, 1, 8) == (1, 1)  # too small to wake anybody
    assert lstm(1, 1, 128) == (1, 1)
    assert lstm(100, 1, 64) == (1, 1)  # a step of a microsecond is not worth meeting for
    assert lstm(200, 1, 1024) == (1, 4)  # one sequence: by units
    assert lstm(100, 64, 128) == (4, 1)  # a batch whose weights fit a cache: by rows, no barrier
    assert lstm(50, 16, 2048)[1] > 1  # weights beyond any second-level cache: each keeps a slice
    assert lstm(0, 0, 16) == (1, 1)


def test_never_more_threads_than_allowed() -> None:
    before = core.num_threads()
    try:
        for threads in (1, 2, 3, 7):
            core.set_num_threads(threads)
            for B in (1, 3, 64):
                rows, units = lstm(500, B, 700)
                assert 1 <= rows * units <= threads
    finally:
        core.set_num_threads(before)
