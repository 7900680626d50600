"""NumericStream: the chunks of `StatefulBatches`, each checked as it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from rnncore._checks import as_numpy
from rnncore._stateful_batches import StatefulBatches
from rnncore._types import Array
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.sequences import SequenceBatch
from rnncore.state import flatten
from rnncore.training.ranks import Shard


@dataclass(eq=False, slots=True)
class StreamBatch(SequenceBatch):
    """A chunk of a `NumericStream`, and whether it is its first."""

    stream: NumericStream
    first: bool

    @property
    def state(self) -> Any:
        """Where the sequences go on from: where the chunk before ended."""
        return None if self.first else self.stream.state

    def carry(self, state: Any) -> None:
        """Keep the state behind this chunk for the next one."""
        self.stream.state = state


@dataclass(eq=False)
class NumericStream:
    """Training samples of truncated back-propagation: sample i is chunk i, after chunk i - 1.

    Attributes
    ----------
    batches : StatefulBatches
    read_samples : callable
        Checks x, y, lengths (None) and `counting` against the model; returns a chunk as samples.
    counting : Counting
    prefix : str
        In front of errors: "" or "validation_data: ".
    state : state of the recurrent layers, or None
        Where the chunk before ended.
    own : Shard or None
        Of the sequences side by side; None: all.
    """

    batches: StatefulBatches
    read_samples: Callable[[Any, Any, None, Counting], Any]
    counting: Counting
    prefix: str = ""
    state: Any = None
    own: Shard | None = None
    ordered: ClassVar[bool] = True
    count: ClassVar[float] = 0.0  # nobody knows before all chunks were read
    lengths: ClassVar[None] = None
    _chunks: Iterator[Any] = field(default_factory=lambda: iter(()))
    _next: int = -1  # number of the chunk that `_chunks` gives next

    def __len__(self) -> int:
        return len(self.batches)

    def shard(self, shard: Shard) -> NumericStream:
        """Return a shard of the sequences side by side as a stream of its own."""
        return replace(self, own=shard, state=None, _chunks=iter(()), _next=-1)

    def take(self, which: Choice) -> StreamBatch:
        """Return one chunk; reads on, or begins anew with the first.

        Raises
        ------
        ValueError, TypeError, IndexError
            If the chunk is not what the model takes; the message names it.
        """
        (i,) = np.arange(len(self))[which].tolist()
        if i == 0 or i != self._next:
            self._chunks = self.batches.read(i)
        self._next = i + 1
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise ValueError(
                f"{self.prefix}chunks: expected {len(self)} in an epoch, got {i}"
            ) from None
        try:
            return self._checked(chunk, i)
        except (ValueError, TypeError, IndexError) as error:
            raise type(error)(f"{self.prefix}chunk {i}: {error}") from error

    def _checked(self, chunk: Any, i: int) -> StreamBatch:
        if not isinstance(chunk, (tuple, list)) or len(chunk) != 2:
            raise TypeError(f"expected a pair (x, y), got {type(chunk).__name__}")
        x, y = as_numpy("x", chunk[0]), as_numpy("y", chunk[1])
        if self.own is not None:
            x, y = self._own(x), self._own(y)
        found = self.read_samples(x, y, None, self.counting).take(slice(None))
        before = None if i == 0 or self.state is None else flatten(self.state)["h"].shape[1]
        if before is not None and len(found.x) != before:
            raise ValueError(
                f"x: expected B = {before} sequences as in the chunk before, got {len(found.x)}"
            )
        return StreamBatch(
            found.y, found.counted, found.weights, found.rows, found.x, None, None, self, i == 0
        )

    def _own(self, array: Array) -> Array:
        """Return the shard's sequences of x or y."""
        assert self.own is not None
        least, count = self.own.total, len(array) if array.ndim else 0
        if count < least:
            raise ValueError(
                f"x: expected B >= {least} sequences, one for each rank or micro-batch, got {count}"
            )
        return array[self.own.rows(count)]
