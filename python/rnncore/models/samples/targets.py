"""Targets: what is to be learnt, where it counts in the loss, and how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import refuse
from rnncore._native.losses import IGNORED
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.losses import LabelSequences
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.held import Held
from rnncore.models.samples.weights import RowWeights


@dataclass(frozen=True)
class Wanted:
    """What the targets of a model are.

    Attributes
    ----------
    kind : {"values", "probabilities", "labels"}
        Numbers, numbers in [0, 1], or an integer for each row.
    size : int
        O: numbers of a target, or classes.
    per_step : bool
        Whether there is a target for each step.
    dtype : numpy.dtype
        Of numbers.
    label_loss : str or None
        The loss that the model could have for labels, for errors.
    several : int
        Outputs of the model for each number of a target.
    """

    kind: str
    size: int
    per_step: bool
    dtype: np.dtype[Any]
    label_loss: str | None = None
    several: int = 1

    @property
    def size_symbol(self) -> str:
        """What errors call `size`."""
        return "output_size" if self.several == 1 else f"output_size / {self.several}"

    @property
    def labelled(self) -> bool:
        """Whether targets are integer labels."""
        return self.kind == "labels"


@dataclass(eq=False, slots=True)
class TargetBatch:
    """Targets of a batch.

    Attributes
    ----------
    y : numpy.ndarray, shape (B, O) or (B, S, O), or labels (B,) or (B, S), or LabelSequences
    counted : numpy.ndarray of bool, or None
        Where the loss counts: one flag for each row, or as y where single numbers are missing;
        None where everything does.
    weights : numpy.ndarray, shape (B,) or (B, S), or None
        How much each row counts, in the outputs' dtype; None for 1.
    rows : tuple of int
        (B,) or (B, S).
    """

    y: Any
    counted: Array | None
    weights: Array | None
    rows: tuple[int, ...]

    @property
    def count(self) -> float:
        """What the mean loss is taken over: the sum of all that counts, in rows."""
        counted, weights = self.counted, self.weights
        if counted is None:
            return math.prod(self.rows) if weights is None else float(weights.sum(dtype=np.float64))
        if counted.ndim > len(self.rows):  # of a row that part which is there
            share = counted.mean(axis=-1)
            return float((share if weights is None else share * weights).sum())
        if weights is None:
            return int(np.count_nonzero(counted))
        return float(weights.sum(where=counted, dtype=np.float64))


def what_counts(y: Array, batch: TargetBatch) -> tuple[Array, Array]:
    """Return outputs (M, ...) and targets (M, ...) of the M rows of a batch that count.

    For labels at no given steps: of M sequences, (T_i, V) and (S_i,), in arrays of objects.
    """
    rank, counted, target = len(batch.rows), batch.counted, batch.y
    if isinstance(target, LabelSequences):
        chosen = np.arange(len(y)) if counted is None else np.flatnonzero(counted)
        outputs, labels = np.empty((2, len(chosen)), object)
        for place, i in enumerate(chosen):
            outputs[place] = y[i, : target.lengths[i]]
            labels[place] = target.labels[i, : target.label_lengths[i]]
        return outputs, labels
    if counted is None:
        return y.reshape(-1, *y.shape[rank:]), target.reshape(-1, *target.shape[rank:])
    if counted.ndim > rank:  # single numbers are missing: rows that are whole
        counted = np.asarray(counted.all(axis=-1))
    return y[counted], target[counted]


@dataclass(eq=False, slots=True)
class Targets:
    """N targets, as the user gave them.

    Attributes
    ----------
    wanted : Wanted
    values : HeldArray or HeldList
        (N, O) or (N, T, O), or labels (N,) or (N, T).
    lengths : numpy.ndarray of int64, shape (N,), or None
        Valid steps of targets per step.
    mask : HeldArray or HeldList, or None
        Booleans (N,) or (N, T): where the loss counts.
    weights : RowWeights or None
        How much it counts.
    washout : int
        The first steps of each sequence, which do not count.
    ignores_nan : bool
        Whether targets that are NaN are left out.
    gaps : bool
        Whether there may be targets that say themselves that they do not count: NaN, or the label
        IGNORED. `check` finds out.
    count : float
        What the mean loss over all of them is taken over; set by `check`.
    """

    wanted: Wanted
    values: Held
    lengths: Lengths | None
    mask: Held | None = None
    weights: RowWeights | None = None
    washout: int = 0
    ignores_nan: bool = False
    gaps: bool = True
    count: float = 0

    def __len__(self) -> int:
        return len(self.values)

    def take(self, which: Choice, steps: int | None = None) -> TargetBatch:
        """Return the chosen targets, of so many steps, or else those of the longest of them."""
        lengths = None
        if self.lengths is not None:
            lengths = self.lengths[which]
            steps = int(lengths.max(initial=0)) if steps is None else steps
        y = self.values.take(which, steps)
        rows = y.shape if self.wanted.labelled else y.shape[:-1]
        counted = self._counted(which, y, rows, lengths)
        weights = None if self.weights is None else self.weights.take(which, rows, y)
        if weights is not None and counted is not None and counted.ndim > len(rows):
            weights = np.where(counted.any(axis=-1), weights, 0)  # else it may be NaN
        return TargetBatch(y, counted, weights, rows)

    def _counted(
        self, which: Choice, y: Array, rows: tuple[int, ...], lengths: Lengths | None
    ) -> Array | None:
        counted = None if lengths is None else valid_steps(rows[1], lengths)
        if self.mask is not None:
            counted = _both(counted, self.mask.take(which, rows[1] if len(rows) > 1 else None))
        if self.washout:
            counted = _both(counted, np.broadcast_to(np.arange(rows[1]) >= self.washout, rows))
        if not self.gaps:
            return counted
        if self.wanted.labelled:
            return _both(counted, y != IGNORED)
        if not self.ignores_nan:
            return counted
        there = ~np.isnan(y)
        if y.shape[-1] == 1:
            return _both(counted, there[..., 0])
        return there if counted is None else counted[..., None] & there

    def check(self, *, some: bool = True) -> None:
        """Look at all targets, and count them.

        Raises
        ------
        ValueError
            If a target that counts is NaN, infinite or out of range, a weight that counts is
            negative or no number, or nothing counts, where `some` should.
        """
        total, gaps = 0.0, False
        for block in self.values.blocks():
            batch = self.take(block)
            self._refuse(batch, block)
            total += batch.count
            gaps = gaps or self._has_gaps(batch.y)
        if some and not total > 0:
            name = "y" if self.mask is None else "mask"
            raise ValueError(f"{name}: expected something that counts in the loss, got nothing")
        self.count, self.gaps = total, gaps

    def moments(self) -> tuple[Array, Array]:
        """Return mean and variance (O,), in float64, of the numbers that count, as they weigh."""
        shift: Any = None  # the first ones: the squares of what is left lose less
        sums: Any = 0.0  # of weights, of weighted numbers, of their weighted squares
        for block in self.values.blocks():
            batch = self.take(block)
            y = batch.y.reshape(-1, batch.y.shape[-1]).astype(np.float64)
            w = np.ones_like(y)
            if batch.weights is not None:
                w *= batch.weights.reshape(-1, 1)
            if batch.counted is not None:
                w *= batch.counted.reshape(len(y), -1)
            y = np.where(w > 0, y, 0)
            if shift is None:
                shift = y[(w > 0).argmax(axis=0), np.arange(y.shape[1])]
            d = y - shift
            sums = sums + np.stack([w.sum(axis=0), (w * d).sum(axis=0), (w * d * d).sum(axis=0)])
        total, mean, square = sums
        some = np.maximum(total, np.finfo(np.float64).tiny)
        mean, square = mean / some, square / some
        return np.where(total > 0, shift + mean, 0), np.maximum(square - mean**2, 0)

    def check_finite(self, why: str) -> None:
        """Raise ValueError unless all valid steps are finite, whether they count or not."""
        if self.wanted.labelled:
            return
        for block in self.values.blocks():
            lengths = None if self.lengths is None else self.lengths[block]
            y = self.values.take(block)
            valid = None if lengths is None else valid_steps(y.shape[1], lengths)
            _refuse_where(y, ~np.isfinite(y), valid, f"finite numbers, {why}", block)

    def _has_gaps(self, y: Array) -> bool:
        if self.wanted.labelled:
            return bool((y == IGNORED).any())
        return self.ignores_nan and bool(np.isnan(y).any())

    def _refuse(self, batch: TargetBatch, block: slice) -> None:
        y, counted = batch.y, batch.counted
        if self.weights is not None:
            self.weights.check(block, batch.rows, counted)
        if self.wanted.labelled:
            C = self.wanted.size
            given = self.values.take(block, y.shape[1] if y.ndim > 1 else None, as_given=True)
            wrong = ((given < 0) | (given >= C)) & (given != IGNORED)
            valid = None
            if self.lengths is not None:
                valid = valid_steps(y.shape[1], self.lengths[block])
            expected = f"labels in [0, {C}) or {IGNORED} (ignored)"
            _refuse_where(given, wrong, valid, expected, block)
        elif self.wanted.kind == "probabilities":
            wrong = ~((y >= 0) & (y <= 1))
            _refuse_where(y, wrong, counted, "probabilities in [0, 1]", block)
        elif not np.isfinite(y).all():
            _refuse_where(y, ~np.isfinite(y), counted, "finite numbers", block)


def _both(a: Array | None, b: Array) -> Array:
    return b if a is None else a & b


def _refuse_where(y: Array, wrong: Array, where: Array | None, expected: str, block: slice) -> None:
    """Refuse what is wrong in rows, or in single numbers, that count."""
    if where is not None:
        wrong = wrong & (where if where.ndim == wrong.ndim else where[..., None])
    refuse("y", y, wrong, expected, first=block.start)
