"""Samples as the user gave them: padded and converted one batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rnncore._checks import readable
from rnncore._ragged import side_by_side
from rnncore._types import Array, Lengths
from rnncore.models.samples.chosen import Choice, chosen

_BLOCK = 2**16  # numbers that are checked at a time


@dataclass(eq=False, slots=True)
class HeldArray:
    """N samples in one array, perhaps a view of far fewer numbers: windows of a series.

    Attributes
    ----------
    array : numpy.ndarray, shape (N, ...) or (N, T, ...)
        Of any dtype that converts to `dtype`.
    dtype : numpy.dtype
        Of the batches.
    """

    array: Array
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def steps(self) -> int:
        """T."""
        return int(self.array.shape[1])

    def take(self, which: Choice, steps: int | None = None, *, as_given: bool = False) -> Array:
        """Return the chosen samples, and of (N, T, ...) no more than the first `steps`."""
        some = chosen(self.array, which, steps)
        return some if as_given else readable(some, self.dtype)

    def blocks(self) -> Iterator[slice]:
        """Cut the samples into blocks that take little memory."""
        rows = max(1, _BLOCK // max(1, math.prod(self.array.shape[1:])))
        return (slice(start, start + rows) for start in range(0, len(self), rows))


@dataclass(eq=False, slots=True)
class HeldList:
    """N samples of different lengths.

    Attributes
    ----------
    arrays : list of numpy.ndarray, (T_i,) or (T_i, F)
        Of any dtypes that convert to `dtype`.
    lengths : numpy.ndarray of int64, shape (N,)
        T_i.
    dtype : numpy.dtype
        Of the batches.
    padding : int
        What stands behind the ends.
    """

    arrays: list[Array]
    lengths: Lengths
    dtype: np.dtype[Any]
    padding: int = 0

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def steps(self) -> int:
        """The longest T_i."""
        return int(self.lengths.max(initial=0))

    def take(self, which: Choice, steps: int | None = None, *, as_given: bool = False) -> Array:
        """Return the chosen samples, padded to `steps` or else to the longest of them."""
        if isinstance(which, slice):
            arrays = self.arrays[which]
        else:
            arrays = [self.arrays[i] for i in np.asarray(which).tolist()]
        if steps is None:
            steps = int(self.lengths[which].max(initial=0))
        if not arrays:
            return np.zeros((0, steps, *self.arrays[0].shape[1:]), self.dtype)
        return side_by_side(arrays, steps, self.padding, None if as_given else self.dtype)

    def blocks(self) -> Iterator[slice]:
        """Cut the samples into blocks that take little memory, padded."""
        width = max(1, math.prod(self.arrays[0].shape[1:]))
        start, longest = 0, 0
        for i, steps in enumerate(self.lengths.tolist()):
            longest = max(longest, steps)
            if i > start and (i + 1 - start) * longest * width > _BLOCK:
                yield slice(start, i)
                start, longest = i, steps
        yield slice(start, len(self))


Held: TypeAlias = HeldArray | HeldList
