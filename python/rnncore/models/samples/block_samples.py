"""BlockSamples: training samples that are read window by window while others are trained on."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from rnncore._blocks import Blocks
from rnncore._types import Array, Lengths
from rnncore.models.samples.joined import Block, joined, some_of
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.reading_ahead import Cancelled, ReadingAhead
from rnncore.training.windows import WindowChoice, WindowOrder, Windows, draw_windows

_WRONG = (ValueError, TypeError, IndexError)  # what checks of data raise


@dataclass(eq=False, slots=True)
class Source:
    """Where samples come from, and what they must be; shared with the thread that reads.

    Attributes
    ----------
    blocks : Blocks
    read_samples : callable
        Checks x, y, lengths and `counting` against the model, and returns them as samples.
    counting : Counting
    per_step : bool
        Whether there is a target for each step.
    prefix : str
        In front of errors: "" or "validation_data: ".
    """

    blocks: Blocks
    read_samples: Callable[[Any, Any, Any, Counting], Any]
    counting: Counting
    per_step: bool
    prefix: str = ""

    def read(self, i: int) -> Block:
        """Read a block; errors of the data name it."""
        try:
            return self.blocks.read(i)
        except _WRONG as error:
            raise self._named(error, f"block {i}") from error

    def checked(self, block: Block, numbers: list[int]) -> Any:
        """Return what was read of these blocks as samples; errors name the block at fault."""
        try:
            return self.read_samples(*block, self.counting)
        except _WRONG as error:
            self._find_wrong(numbers)
            raise self._named(error, f"blocks {numbers}") from error

    def joined(self, blocks: list[Block], numbers: list[int]) -> Block:
        """Return blocks, of these numbers, as one; errors name the block at fault."""
        try:
            return joined(blocks, self.per_step)
        except _WRONG as error:
            self._find_wrong(numbers)
            raise self._named(error, f"blocks {numbers}") from error

    def _find_wrong(self, numbers: list[int]) -> None:
        """Raise the error of the first block that is wrong in itself, with its number."""
        for i in numbers:
            try:
                self.read_samples(*self.read(i), self.counting)
            except _WRONG as error:
                if str(error).startswith(f"{self.prefix}block {i}: "):
                    raise
                raise self._named(error, f"block {i}") from error

    def _named(self, error: Exception, place: str) -> Exception:
        text = f"{self.prefix}{place}: {error}"
        for kind in (type(error), *_WRONG):
            try:
                return kind(text)
            except TypeError:  # some need more than a text
                continue
        raise AssertionError


@dataclass(eq=False, slots=True)
class Window:
    """Blocks that were read together.

    Attributes
    ----------
    block : Block
        All of them, as one.
    samples : SequenceSamples or LabelSequenceSamples
        The same, checked.
    order : numpy.ndarray of int64, shape (N,)
        How its samples come.
    """

    block: Block
    samples: Any
    order: Array


def read_window(source: Source, windows: Windows, w: int, cancelled: Cancelled) -> Window:
    """Read a window; TimeoutError if it is not wanted any more."""
    numbers, blocks = windows.blocks[w], []
    for i in numbers:
        if cancelled():
            raise TimeoutError("nobody waits for this window")
        blocks.append(source.read(i))
    block = source.joined(blocks, numbers)
    samples = source.checked(block, numbers)
    return Window(block, samples, windows.order(w, samples.lengths))


@dataclass(eq=False)
class BlockSamples:
    """Training samples in blocks: a window is in memory, and the next one is being read.

    Attributes
    ----------
    source : Source
    """

    source: Source
    count: ClassVar[float] = 0.0  # nobody knows before all blocks were read
    lengths: ClassVar[None] = None
    _windows: Windows | None = None  # whose windows are held
    _held: tuple[int, Window] | None = None
    _ahead: tuple[int, ReadingAhead[Window]] | None = None
    _across: tuple[int, Any] | None = None  # a batch of more than one window, and its samples
    _sizes: Array = field(init=False)

    def __post_init__(self) -> None:
        self._sizes = self.source.blocks.sizes

    def __len__(self) -> int:
        return self.source.blocks.count

    @property
    def prefix(self) -> str:
        """In front of errors."""
        return self.source.prefix

    @prefix.setter
    def prefix(self, value: str) -> None:
        self.source.prefix = value

    @property
    def layout(self) -> dict[str, float]:
        """What the order of an epoch depends on, besides the generator and the batches' size."""
        blocks = self.source.blocks
        return {"buffer": blocks.buffer, "sizes": zlib.crc32(blocks.sizes.tobytes())}

    def check_first(self) -> None:
        """Read the first block that holds anything, and check it, before anything is trained."""
        i = int(np.flatnonzero(self._sizes)[0])
        self.source.checked(self.source.read(i), [i])

    def epoch_order(
        self, batch_size: int, rng: np.random.Generator | None, *, bucket: bool = False
    ) -> WindowOrder:
        """Draw an order: the batches of an epoch, each of which `take` takes."""
        most = self.source.blocks.buffer // 2
        return WindowOrder(self, draw_windows(self._sizes, most, batch_size, rng, bucket=bucket))

    def take(self, which: WindowChoice) -> Any:
        """Return a batch, or some of its samples; waits for its window if that is not here yet.

        Raises
        ------
        ValueError, TypeError, IndexError
            If a block is not what the model takes, the message names it; and whatever reading
            raises.
        """
        samples, numbers = self._found(which)
        return samples.take(numbers[which.positions])

    def lengths_of(self, which: WindowChoice) -> Lengths | None:
        """Return the steps of the chosen samples, (B,); None where all are as long."""
        samples, numbers = self._found(which)
        lengths: Lengths | None = samples.lengths
        return None if lengths is None else lengths[numbers[which.positions]]

    def _found(self, which: WindowChoice) -> tuple[Any, Array]:
        """Return samples, and which of them are those of the batch."""
        if which.windows is not self._windows:
            self._held = self._ahead = self._across = None
            self._windows = which.windows
        if self._across is not None and self._across[0] == which.batch:
            return self._across[1], np.arange(len(self._across[1]))
        self._across = None
        places = [*which.windows.places(which.batch)]
        if len(places) == 1:
            ((w, own),) = places
            window = self._window(which.windows, w)
            return window.samples, window.order[own]
        parts = []
        for w, own in places:
            window = self._window(which.windows, w)
            parts.append(some_of(window.block, window.order[own]))
        numbers = [i for w, _ in places for i in which.windows.blocks[w]]
        samples = self.source.checked(self.source.joined(parts, numbers), numbers)
        self._across = which.batch, samples
        return samples, np.arange(len(samples))

    def _window(self, windows: Windows, w: int) -> Window:
        """Return a window, and let the next one be read meanwhile."""
        if self._held is not None and self._held[0] == w:
            return self._held[1]
        self._held, ahead, self._ahead = None, self._ahead, None
        if ahead is None or ahead[0] != w:
            ahead = None  # an order that jumps: what was read for another goes first
            ahead = self._begin(windows, w)
        window = ahead[1].result()
        self._held = w, window
        if w + 1 < len(windows.blocks):
            self._ahead = self._begin(windows, w + 1)
        return window

    def _begin(self, windows: Windows, w: int) -> tuple[int, ReadingAhead[Window]]:
        source = self.source

        def read(cancelled: Cancelled) -> Window:
            return read_window(source, windows, w, cancelled)

        return w, ReadingAhead(read)
