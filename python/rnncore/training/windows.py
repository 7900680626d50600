"""Windows: the order of an epoch over blocks that do not fit in memory together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, overload

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.training.batches import batch_order


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of an epoch: which blocks are read together, and how their samples come.

    Laid end to end, the windows are the epoch's samples; batch k is samples k * batch_size and so
    on of them. So an epoch has as many batches as one in memory, and a batch may begin in one
    window and end in the next. All follows from the block's sizes and the numbers drawn.

    Attributes
    ----------
    blocks : list of list of int
        The blocks of each window.
    ends : numpy.ndarray of int64, shape (W,)
        How many samples there are up to the end of each window.
    batch_size : int
    seed : tuple of int, or None
        From which the order within a window is drawn; None: its own.
    bucket : bool
        Whether samples of similar length come into a batch together, as far as a window goes.
    """

    blocks: list[list[int]]
    ends: Array
    batch_size: int
    seed: tuple[int, ...] | None
    bucket: bool

    def places(self, k: int) -> Iterator[tuple[int, slice]]:
        """Yield the windows that batch k is in, with its places in each of them."""
        start = k * self.batch_size
        end = min(start + self.batch_size, int(self.ends[-1]))
        w = int(np.searchsorted(self.ends, start, side="right"))
        while start < end:
            first, last = self._bounds(w)
            yield w, slice(start - first, min(end, last) - first)
            start, w = last, w + 1

    def _bounds(self, w: int) -> tuple[int, int]:
        return (int(self.ends[w - 1]) if w > 0 else 0), int(self.ends[w])

    def order(self, w: int, lengths: Lengths | None) -> Array:
        """Return the numbers of a window's samples as they come; with `bucket`, by `lengths`.

        The samples that share a batch with another window are drawn like all others.
        """
        first, last = self._bounds(w)
        n, B = last - first, self.batch_size
        rng = None if self.seed is None else np.random.default_rng((*self.seed, w))
        order = np.arange(n) if rng is None else rng.permutation(n)
        head = min(n, -first % B)
        tail = n - (n - head) % B
        if not self.bucket or lengths is None or head == tail:
            return order
        whole = order[head:tail]
        batches = batch_order(len(whole), B, rng, lengths[whole])
        return np.concatenate([order[:head], *(whole[each] for each in batches), order[tail:]])


class Windowed(Protocol):
    """Samples that are read window by window."""

    def lengths_of(self, which: WindowChoice) -> Lengths | None:
        """Return the steps of the chosen samples, (B,); None where all are as long."""


@dataclass(frozen=True, eq=False)
class WindowChoice:
    """A batch of an epoch in windows, or some of its samples: what `take` takes.

    Attributes
    ----------
    samples : Windowed
    windows : Windows
    batch : int
        Its number in the epoch.
    positions : numpy.ndarray of int, shape (B,)
        Which samples of the batch, counted from 0.
    """

    samples: Windowed = field(repr=False)
    windows: Windows = field(repr=False)
    batch: int
    positions: Array

    def __len__(self) -> int:
        return len(self.positions)

    def some(self, positions: Any) -> WindowChoice:
        """Return those at `positions` of the chosen ones: numbers, a slice or booleans."""
        return WindowChoice(self.samples, self.windows, self.batch, self.positions[positions])

    @property
    def lengths(self) -> Lengths | None:
        """Steps of the chosen samples, (B,); None where all are as long. Reads their window."""
        return self.samples.lengths_of(self)


class WindowOrder(Sequence[WindowChoice]):
    """The batches of an epoch, each made when asked for."""

    def __init__(self, samples: Windowed, windows: Windows) -> None:
        self._samples, self._windows = samples, windows

    def __len__(self) -> int:
        return -(-int(self._windows.ends[-1]) // self._windows.batch_size)

    @overload
    def __getitem__(self, k: int) -> WindowChoice: ...
    @overload
    def __getitem__(self, k: slice) -> list[WindowChoice]: ...
    def __getitem__(self, k: int | slice) -> WindowChoice | list[WindowChoice]:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        if not 0 <= k < len(self):
            raise IndexError(f"batch: expected a number in [0, {len(self)}), got {k}")
        B, N = self._windows.batch_size, int(self._windows.ends[-1])
        return WindowChoice(self._samples, self._windows, k, np.arange(min(B, N - k * B)))


def draw_windows(
    sizes: Array,
    most: int,
    batch_size: int,
    rng: np.random.Generator | None,
    *,
    bucket: bool = False,
) -> Windows:
    """Draw the order of an epoch.

    Parameters
    ----------
    sizes : numpy.ndarray of int64
        Samples of each block, at most `most`.
    most : int
        Samples of a window.
    batch_size : int
    rng : numpy.random.Generator or None
        From which four numbers are drawn, in one call; None keeps the blocks' own order.
    bucket : bool

    Raises
    ------
    ValueError
        If a batch is larger than a window may be.
    """
    if batch_size > most:
        raise ValueError(
            f"batch_size: expected at most buffer / 2 = {most} samples, got {batch_size}"
        )
    seed = None if rng is None else tuple(rng.integers(2**32, size=4).tolist())
    order = np.flatnonzero(sizes)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order)
    blocks: list[list[int]] = []
    filled, ends = most, [0]
    for i in order.tolist():
        n = int(sizes[i])
        if filled + n > most:
            blocks.append([])
            ends.append(ends[-1])
            filled = 0
        blocks[-1].append(i)
        filled, ends[-1] = filled + n, ends[-1] + n
    return Windows(blocks, np.array(ends[1:], np.int64), batch_size, seed, bucket)
