"""Samples: the checked inputs, targets and masks that training takes its batches from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore._checks import as_array, as_booleans, as_integers, as_numpy, check_shape, refuse
from rnncore._ragged import is_ragged, read_sequences, side_by_side
from rnncore._types import Array, Lengths

if TYPE_CHECKING:
    from rnncore.models.core import CoreModel

IGNORED = -100  # a label that never counts in the cross-entropy
LABELLED = ("softmax_cross_entropy", "negative_log_likelihood")  # losses of integer labels


@dataclass(frozen=True, eq=False)
class Samples:
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
        Where the loss counts; None where it does everywhere.
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

    def take(self, which: Any) -> Samples:
        """Return the chosen sequences, cut after the longest of them."""
        lengths = None if self.lengths is None else self.lengths[which]
        steps = self.x.shape[1] if lengths is None else int(lengths.max(initial=0))

        def cut(array: Array) -> Array:
            rows: Array = array[which]
            return rows[:, :steps] if self.per_step else rows

        counted = None if self.counted is None else cut(self.counted)
        return Samples(self.x[which][:, :steps], cut(self.y), lengths, counted, self.per_step)


def samples(model: CoreModel, x: Any, y: Any, lengths: Any = None, mask: Any = None) -> Samples:
    """Check training data against a model.

    Parameters
    ----------
    model : ManyToOne or ManyToMany
        What is to be trained.
    x, lengths
        As `Model.predict` takes them.
    y : array_like
        Shape (N, output_size), or (N, T, output_size) for ManyToMany; integer labels (N,) or
        (N, T) for "softmax_cross_entropy". A list of N arrays where x is one and outputs are
        per step.
    mask : array_like of bool, shape (N,), or (N, T) for ManyToMany, optional
        True where the loss counts; a list of N arrays (T_i,) where x is one.

    Returns
    -------
    Samples

    Raises
    ------
    ValueError, TypeError
        If something is of another shape or dtype, a target that counts is NaN, infinite or out
        of range, there is no sequence, or nothing counts.
    """
    x, lengths = model.check_inputs(x, lengths)
    if len(x) == 0:
        raise ValueError(f"x: expected at least one sequence, got shape {x.shape}")
    steps = np.full(len(x), x.shape[1]) if lengths is None else lengths
    shape = x.shape[: 1 + model.per_step]
    y = _targets(model, y, shape, steps)
    counted = np.ones(shape, np.bool_)
    if mask is not None:
        counted &= _mask(model, mask, shape, steps)
    if model.per_step:
        counted &= np.arange(x.shape[1]) < steps[:, None]
    if model.loss in LABELLED:
        counted &= y != IGNORED
    elif model.loss == "binary_cross_entropy":
        refuse("y", y, counted[..., None] & ~((y >= 0) & (y <= 1)), "probabilities in [0, 1]")
    else:
        refuse("y", y, counted[..., None] & ~np.isfinite(y), "finite numbers")
    if not counted.any():
        raise ValueError("mask: expected something that counts in the loss, got nothing")
    return Samples(x, y, lengths, None if counted.all() else counted, model.per_step)


def _targets(model: CoreModel, y: Any, shape: tuple[int, ...], steps: Array) -> Array:
    if model.per_step and is_ragged(y):
        y = _padded("y", y, steps, shape[1])
    dimensions = "N, T" if model.per_step else "N"
    if model.loss not in LABELLED:
        y = as_numpy("y", y)
        if y.dtype.kind in "fiub":  # silently: a target needs no more digits than the output has
            y = y.astype(model.dtype, copy=False)
        y = as_array("y", y, model.dtype)
        expected = (*shape, model.output_size)
        check_shape("y", y, f"({dimensions}, output_size)", expected)
        return np.asarray(y)
    y = as_integers("y", y, "integer class labels")
    check_shape("y", y, f"({dimensions})" if model.per_step else "(N,)", shape)
    wrong = ((y < 0) | (y >= model.output_size)) & (y != IGNORED)
    refuse("y", y, wrong, f"labels in [0, {model.output_size}) or {IGNORED} (ignored)")
    return np.asarray(y, np.int64)


def _mask(model: CoreModel, mask: Any, shape: tuple[int, ...], steps: Array) -> Array:
    if model.per_step and is_ragged(mask):
        mask = _padded("mask", mask, steps, shape[1])
    mask = as_booleans("mask", mask)
    check_shape("mask", mask, "(N, T)" if model.per_step else "(N,)", shape)
    return np.asarray(mask)


def _padded(name: str, items: Any, steps: Array, longest: int) -> Array:
    """Pad a list whose arrays must be as long as the sequences they belong to."""
    if len(items) != len(steps):
        raise ValueError(f"{name}: expected {len(steps)} arrays as in x, got {len(items)}")
    arrays, lengths = read_sequences(name, items)
    for i in np.flatnonzero(lengths != steps):
        raise ValueError(f"{name}[{i}]: expected {steps[i]} steps as in x, got {lengths[i]}")
    return side_by_side(arrays, longest)
