"""ValueSamples: vectors, and the sequences of values that are to follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnncore._checks import as_array, as_booleans, as_numpy, check_lengths, check_shape, refuse
from rnncore._ragged import is_ragged, read_sequences, side_by_side
from rnncore._types import Array, Lengths
from rnncore.models.samples.chosen import Choice, chosen


@dataclass(eq=False)
class ValueSamples:
    """N vectors and, for each, the values that are to follow from it.

    Attributes
    ----------
    x : numpy.ndarray, shape (N, F)
        Vectors.
    y : numpy.ndarray, shape (N, T, O)
        Values.
    lengths : numpy.ndarray of int64, shape (N,)
        Valid steps of y.
    counted : numpy.ndarray of bool, shape (N, T)
        Where the loss counts.
    """

    x: Array
    y: Array
    lengths: Lengths
    counted: Array

    def __len__(self) -> int:
        return len(self.x)

    @property
    def count(self) -> int:
        """How many outputs the mean loss is taken over."""
        return int(np.count_nonzero(self.counted))

    @cached_property
    def valid(self) -> Array:
        """(N, T), True up to each sequence's end."""
        return np.asarray(np.arange(self.y.shape[1]) < self.lengths[:, None])

    def take(self, which: Choice) -> ValueSamples:
        """Return the chosen ones, cut after the longest of them."""
        lengths = self.lengths[which]
        T = int(lengths.max(initial=0))
        return ValueSamples(
            chosen(self.x, which),
            chosen(self.y, which, T),
            lengths,
            chosen(self.counted, which, T),
        )


def value_samples(
    x: Array, y: Any, lengths: Any, mask: Any, output_size: int, fed: bool
) -> ValueSamples:
    """Check targets against vectors that are checked already.

    Parameters
    ----------
    x : numpy.ndarray, shape (N, F)
    y : array_like, shape (N, T, O), or list of N arrays (T_i, O)
        Finite where it counts.
    lengths : array_like of int, shape (N,), or None
        Valid steps of an array y.
    mask : array_like of bool, shape (N, T), or None
        Where the loss counts.
    output_size : int
        O.
    fed : bool
        Whether targets feed back: then they are finite at every valid step.

    Raises
    ------
    ValueError, TypeError
        If something is of another shape or dtype, a target that counts is NaN or infinite, or
        nothing counts.
    """
    if is_ragged(y):
        if lengths is not None:
            raise ValueError("lengths: expected None with a list of targets, got an array")
        arrays, lengths = read_sequences("y", y)
        y = side_by_side(arrays, int(lengths.max()))
    y = as_numpy("y", y)
    if y.dtype.kind in "fiub":  # silently: a target needs no more digits than the output has
        y = y.astype(x.dtype, copy=False)
    y = as_array("y", y, x.dtype, contiguous=True)
    if y.ndim != 3 or len(y) != len(x) or y.shape[2] != output_size:
        raise ValueError(
            f"y: expected (N, T, output_size) = ({len(x)}, T, {output_size}), got {y.shape}"
        )
    N, T, _ = y.shape
    checked = check_lengths(lengths, T, N)
    steps = np.full(N, T, np.int64) if checked is None else checked
    counted = np.asarray(np.arange(T) < steps[:, None])
    y = np.where(counted[:, :, None], y, y.dtype.type(0))
    if fed:
        refuse("y", y, ~np.isfinite(y), "finite numbers, since targets feed back")
    if mask is not None:
        mask = as_booleans("mask", mask)
        check_shape("mask", mask, "(N, T)", (N, T))
        counted = counted & mask
    refuse("y", y, counted[:, :, None] & ~np.isfinite(y), "finite numbers")
    if not counted.any():
        name = "y" if mask is None else "mask"
        raise ValueError(f"{name}: expected something that counts in the loss, got nothing")
    return ValueSamples(x, y, steps, counted)
