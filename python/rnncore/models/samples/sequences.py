"""SequenceSamples: sequences and, for each of them or for each of its steps, a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_array, as_booleans, as_integers, as_numpy, check_shape, refuse
from rnncore._native.losses import IGNORED
from rnncore._ragged import is_ragged, read_sequences, side_by_side
from rnncore._types import Array, Lengths
from rnncore.losses import Loss
from rnncore.models.samples.chosen import Choice, chosen


@dataclass(eq=False, slots=True)
class SequenceSamples:
    """N sequences and what to learn of them.

    Attributes
    ----------
    x : numpy.ndarray, shape (N, T, I), or tokens (N, T)
        Inputs.
    y : numpy.ndarray, shape (N, O) or (N, T, O), or labels (N,) or (N, T)
        Targets.
    lengths : numpy.ndarray of int64, shape (N,), or None
        Valid steps; None where all are.
    counted : numpy.ndarray of bool, shape (N,) or (N, T), or None
        Where the loss counts, never behind a length; None where it does everywhere.
    per_step : bool
        Whether there is a target for each step.
    """

    x: Array
    y: Array
    lengths: Lengths | None
    counted: Array | None
    per_step: bool

    def __len__(self) -> int:
        return len(self.x)

    @property
    def count(self) -> int:
        """How many outputs the mean loss is taken over."""
        if self.counted is not None:
            return int(np.count_nonzero(self.counted))
        return len(self.y) * self.y.shape[1] if self.per_step else len(self.y)

    def take(self, which: Choice) -> SequenceSamples:
        """Return the chosen sequences, cut after the longest of them."""
        lengths = steps = None
        if self.lengths is not None:
            lengths = self.lengths[which]
            steps = int(lengths.max(initial=0))
        target_steps = steps if self.per_step else None
        return SequenceSamples(
            chosen(self.x, which, steps),
            chosen(self.y, which, target_steps),
            lengths,
            None if self.counted is None else chosen(self.counted, which, target_steps),
            self.per_step,
        )


@dataclass(frozen=True)
class Wanted:
    """What the targets of a model are.

    Attributes
    ----------
    loss : Loss
        Knows what its targets are.
    output_size : int
        Outputs of the model: numbers, or classes.
    per_step : bool
        Whether there is a target for each step.
    dtype : numpy.dtype
        Of numbers.
    """

    loss: Loss
    output_size: int
    per_step: bool
    dtype: np.dtype[Any]

    @property
    def target_size(self) -> int:
        """O: how many numbers a target has."""
        return self.output_size // self.loss.outputs_per_target


def sequence_samples(
    wanted: Wanted, x: Array, lengths: Lengths | None, y: Any, mask: Any = None
) -> SequenceSamples:
    """Check targets against inputs that are checked already.

    Parameters
    ----------
    wanted : Wanted
    x, lengths
        As `SequenceSamples` holds them.
    y : array_like
        Shape (N, O) or (N, T, O); for the losses of labels integers (N,) or (N, T). Per step a
        list of N arrays too.
    mask : array_like of bool, shape (N,) or (N, T), optional
        True where the loss counts. Per step a list of N arrays (T_i,) too.

    Raises
    ------
    ValueError, TypeError
        If something is of another shape or dtype, a target that counts is NaN, infinite or out
        of range, there is no sequence, or nothing counts.
    """
    if len(x) == 0:
        raise ValueError(f"x: expected at least one sequence, got shape {x.shape}")
    steps = np.full(len(x), x.shape[1]) if lengths is None else lengths
    shape = x.shape[: 1 + wanted.per_step]
    y = _targets(wanted, y, shape, steps)
    counted = np.ones(shape, np.bool_)
    if mask is not None:
        counted &= _mask(wanted, mask, shape, steps)
    if wanted.per_step:
        counted &= np.arange(x.shape[1]) < steps[:, None]
    if wanted.loss.kind == "labels":
        counted &= y != IGNORED
    elif wanted.loss.kind == "probabilities":
        refuse("y", y, counted[..., None] & ~((y >= 0) & (y <= 1)), "probabilities in [0, 1]")
    else:
        refuse("y", y, counted[..., None] & ~np.isfinite(y), "finite numbers")
    if not counted.any():
        raise ValueError("mask: expected something that counts in the loss, got nothing")
    return SequenceSamples(x, y, lengths, None if counted.all() else counted, wanted.per_step)


def _targets(wanted: Wanted, y: Any, shape: tuple[int, ...], steps: Array) -> Array:
    if wanted.per_step and is_ragged(y):
        y = _padded("y", y, steps, shape[1])
    dimensions = "N, T" if wanted.per_step else "N"
    if wanted.loss.kind != "labels":
        y = as_numpy("y", y)
        if y.dtype.kind in "fiub":  # silently: a target needs no more digits than the output has
            y = y.astype(wanted.dtype, copy=False)
        y = as_array("y", y, wanted.dtype)
        several = wanted.loss.outputs_per_target
        last = "output_size" if several == 1 else f"output_size / {several}"
        check_shape("y", y, f"({dimensions}, {last})", (*shape, wanted.target_size))
        return np.asarray(y)
    y = as_integers("y", y, "integer class labels")
    check_shape("y", y, f"({dimensions})" if wanted.per_step else "(N,)", shape)
    wrong = ((y < 0) | (y >= wanted.output_size)) & (y != IGNORED)
    refuse("y", y, wrong, f"labels in [0, {wanted.output_size}) or {IGNORED} (ignored)")
    return np.asarray(y, np.int64)


def _mask(wanted: Wanted, mask: Any, shape: tuple[int, ...], steps: Array) -> Array:
    if wanted.per_step and is_ragged(mask):
        mask = _padded("mask", mask, steps, shape[1])
    mask = as_booleans("mask", mask)
    check_shape("mask", mask, "(N, T)" if wanted.per_step else "(N,)", shape)
    return np.asarray(mask)


def _padded(name: str, items: Any, steps: Array, longest: int) -> Array:
    """Pad a list whose arrays must be as long as the sequences they belong to."""
    if len(items) != len(steps):
        raise ValueError(f"{name}: expected {len(steps)} arrays as in x, got {len(items)}")
    arrays, lengths = read_sequences(name, items)
    for i in np.flatnonzero(lengths != steps):
        raise ValueError(f"{name}[{i}]: expected {steps[i]} steps as in x, got {lengths[i]}")
    return side_by_side(arrays, longest)
