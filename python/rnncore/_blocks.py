"""Blocks: training data larger than memory, samples in blocks that lie on disk."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnncore._checks import as_integers, as_numpy, positive_int
from rnncore._memory import returned_empty
from rnncore._types import Array

_MOST = 2**62  # samples in all: their numbers are int64
_COPIED = 2**22  # bytes of a memory map that are copied at a time


class Blocks:
    """Samples in blocks that lie on disk, as training data: read when their turn comes.

    For ``fit(Blocks(...))`` of `ManyToOne`, `ManyToMany` and `Sequential`, y = None, and for their
    `validation_data`. An epoch draws the order of the blocks and puts neighbours of that order
    together into windows of at most buffer / 2 samples. A window is read whole, and its samples
    come in an order drawn among them; a thread reads the next window meanwhile. So no more than
    `buffer` samples lie in memory, and a batch besides. docs/how-to/larger-than-memory.md says how
    good such a shuffle is. Without ``shuffle``, and in evaluations, all comes in its own order.

    Parameters
    ----------
    blocks : sequence of (x, y) or (x, y, lengths)
        Anything with ``len`` and ``[i]``, which reads block i: x (N_i, T, I), tokens (N_i, T) or a
        list of N_i arrays (T_i, I) or (T_i,); y and lengths as `fit` takes them. Another thread
        calls it, one at a time.
    buffer : int
        How many samples may lie in memory, at least twice those of the largest block.
    sizes : array_like of int, shape (len(blocks),), optional
        N_i, known before anything is read; by default ``blocks.sizes``.

    Attributes
    ----------
    blocks : sequence
    sizes : numpy.ndarray of int64, read-only
    buffer : int

    Raises
    ------
    TypeError, ValueError
        If blocks is no sequence, sizes are missing, no integers >= 0 or not as many, there is no
        sample, or buffer is too small. What the numbers must be the model says: `fit` raises its
        errors, with the number of the block.
    """

    blocks: Any
    sizes: Array
    buffer: int

    def __init__(self, blocks: Any, *, buffer: int, sizes: ArrayLike | None = None) -> None:
        cls = type(blocks)
        known = hasattr(cls, "__len__") and hasattr(cls, "__getitem__")
        if not known or issubclass(cls, (dict, str, bytes)):
            raise TypeError(
                "blocks: expected a sequence, whose [i] reads block i, since every epoch reads "
                f"them again, got {cls.__name__}"
            )
        self.blocks, self.buffer = blocks, positive_int("buffer", buffer)
        self.sizes = _read_sizes(getattr(blocks, "sizes", None) if sizes is None else sizes, blocks)
        largest = int(self.sizes.argmax())
        most = int(self.sizes[largest])
        if 2 * most > self.buffer:
            raise ValueError(
                f"buffer: expected at least 2 * {most} = {2 * most} samples, twice those of the "
                f"largest block (block {largest}), since one is read while another is trained on, "
                f"got {self.buffer}; take a larger buffer, or cut the data into smaller blocks"
            )

    @classmethod
    def of_arrays(cls, x: Any, y: Any, lengths: Any = None, *, rows: int, buffer: int) -> Blocks:
        """Cut arrays or memory maps into blocks of so many samples, without a copy.

        Parameters
        ----------
        x, y, lengths : array_like
            As `fit` takes them, N samples; ``numpy.load(path, mmap_mode="r")`` for those on disk.
            x and y are arrays, no lists.
        rows : int
            Samples of a block; the last one may have fewer. Reading one should take a disk longer
            than finding it: a megabyte or more.
        buffer : int
            How many samples may lie in memory.

        Raises
        ------
        ValueError, TypeError
            If they are no arrays of as many samples, or an argument is not as described.
        """
        arrays = [as_numpy("x", x), as_numpy("y", y)]
        if lengths is not None:
            arrays.append(as_numpy("lengths", lengths))
        for name, array in zip(("x", "y", "lengths"), arrays, strict=False):
            if array.dtype == object or array.ndim == 0:
                raise ValueError(
                    f"{name}: expected an array (N, ...), got {array.shape} of objects"
                )
            if len(array) != len(arrays[0]):
                raise ValueError(
                    f"x and {name}: expected the same N in both, got {len(arrays[0])} and "
                    f"{len(array)}"
                )
        return cls(_Rows(arrays, positive_int("rows", rows)), buffer=buffer)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.sizes)

    @property
    def count(self) -> int:
        """Samples in all."""
        return int(self.sizes.sum())

    def read(self, i: int) -> tuple[Any, Any, Any]:
        """Read block i: x, y and lengths or None.

        Raises
        ------
        TypeError, ValueError
            If it is no such tuple, or holds another number of samples than `sizes` says.
        """
        block = self.blocks[i]
        if not isinstance(block, (tuple, list)) or len(block) not in (2, 3):
            raise TypeError(f"expected (x, y) or (x, y, lengths), got {type(block).__name__}")
        x, y, lengths = (*block, None)[:3]
        for name, part in (("x", x), ("y", y)):
            if not hasattr(part, "__len__") or len(part) != self.sizes[i]:
                got = len(part) if hasattr(part, "__len__") else type(part).__name__
                raise ValueError(f"{name}: expected N = {self.sizes[i]} samples, got {got}")
        return x, y, lengths


class _Rows:
    """Blocks of neighbouring rows: views of arrays, and copies of what lies on disk."""

    def __init__(self, arrays: Sequence[Array], rows: int) -> None:
        self._arrays, self._rows = arrays, rows
        N = len(arrays[0])
        self.sizes = np.minimum(rows, N - np.arange(0, N, rows))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> tuple[Array, ...]:
        if not 0 <= i < len(self):  # by which a loop over the blocks ends
            raise IndexError(f"blocks: expected an index in [0, {len(self)}), got {i}")
        part = slice(i * self._rows, (i + 1) * self._rows)
        return tuple(_in_memory(array[part]) for array in self._arrays)


def _in_memory(rows: Array) -> Array:
    """Return rows of a memory map as an array of their own; the map's pages do not stay."""
    base: Any = rows
    mode = None
    while isinstance(base, np.ndarray):
        mode = base.mode if isinstance(base, np.memmap) else mode
        base = base.base
    if mode is None:
        return rows
    copy = returned_empty(rows.shape, rows.dtype)
    step = max(1, len(rows) * _COPIED // max(1, rows.nbytes))
    for start in range(0, len(rows), step):
        copy[start : start + step] = rows[start : start + step]
        if mode == "r" and isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)  # they would count as memory of this process
    return copy


def _read_sizes(sizes: Any, blocks: Any) -> Array:
    if sizes is None:
        raise TypeError(
            "sizes: expected the number of samples of each block, which blocks has not, got None"
        )
    read = as_integers("sizes", sizes)
    if read.shape != (len(blocks),):
        raise ValueError(f"sizes: expected (len(blocks),) = ({len(blocks)},), got {read.shape}")
    for i in np.flatnonzero((read < 0) | (read > _MOST))[:1]:
        raise ValueError(f"sizes: expected integers >= 0, got {read[i]} at index {i}")
    checked = np.array(read, np.int64)
    if not 0 < sum(checked.tolist()) <= _MOST:
        raise ValueError("sizes: expected at least one sample, got none")
    checked.flags.writeable = False
    return checked
