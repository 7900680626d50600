"""LabelSequenceSamples: sequences, and the labels that are to come of each, at no given steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncore._checks import expect_none, integer
from rnncore._types import Array, Lengths
from rnncore.losses import CTC, LabelSequences
from rnncore.models.inputs import Inputs
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.sequences import SequenceBatch, SequenceSamples, sequence_samples
from rnncore.models.samples.targets import Wanted


@dataclass(eq=False, slots=True)
class LabelSequenceSamples:
    """N sequences, and the labels of each.

    Attributes
    ----------
    inputs : SequenceSamples
        The sequences; the target of each is its place in `labels`.
    labels : list of N numpy.ndarray of int64, (S_i,)
    """

    inputs: SequenceSamples
    labels: list[Array]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def count(self) -> float:
        """What the mean loss is taken over: how many sequences, or the sum of their weights."""
        return self.inputs.count

    @property
    def lengths(self) -> Lengths | None:
        """Valid steps of each sequence; None where all are."""
        return self.inputs.lengths

    def take(self, which: Choice) -> SequenceBatch:
        """Return the chosen sequences, cut after the longest of them; their y `LabelSequences`."""
        batch = self.inputs.take(which)
        lengths = batch.lengths
        if lengths is None:
            lengths = np.full(len(batch.x), batch.x.shape[1], np.int64)
        rows = [self.labels[i] for i in batch.y]
        return replace(batch, y=LabelSequences.side_by_side(rows, lengths))


def label_sequence_samples(
    loss: CTC,
    symbols: int,
    dtype: np.dtype[Any],
    inputs: Inputs,
    y: Any,
    counting: Counting,
    resets: Any = None,
) -> LabelSequenceSamples:
    """Check inputs and labels, all of them.

    Parameters
    ----------
    loss : CTC
    symbols : int
        V, the blank among them.
    dtype : numpy.dtype
        Of the model.
    inputs : Inputs
    y : list of N array_like of int, (S_i,)
        In [0, V) and not the blank; no more than fit in the sequence's steps.
    counting : Counting
        For whole sequences: a mask (N,), sample_weight.
    resets : array_like of bool, shape (N, T), or list of N arrays (T_i,), optional

    Raises
    ------
    ValueError, TypeError
        If something is of another shape or dtype, or out of range, labels do not fit in their
        steps, there is no sequence, or nothing counts.
    """
    inputs.refuse_none()
    reason = "with labels at no given steps"
    expect_none(reason, class_weight=counting.class_weight, step_weight=counting.step_weight)
    if integer("washout", counting.washout, 0, 2**31 - 1) != 0:
        raise ValueError(f"washout: expected 0 {reason}, got {counting.washout!r}")
    N = len(inputs)
    steps = np.full(N, inputs.steps, np.int64) if inputs.lengths is None else inputs.lengths
    labels, fits = loss.read_labels(y, symbols, steps, counting.mask)
    places = Wanted("labels", N, False, dtype)
    counting = replace(counting, mask=fits)
    samples = sequence_samples(places, inputs, np.arange(N), counting, resets)
    return LabelSequenceSamples(samples, labels)
