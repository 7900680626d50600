"""LabelSequenceSamples: sequences, and the labels that are to come of each, at no given steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.losses import CTC, LabelSequences, SoftmaxCrossEntropy
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.sequences import SequenceSamples, Wanted, sequence_samples


@dataclass(eq=False, slots=True)
class LabelSequenceSamples:
    """N sequences, and the labels of each.

    Attributes
    ----------
    inputs : SequenceSamples
        The sequences; the target of each is its place in `labels`.
    labels : list of numpy.ndarray of int64, (S_i,)
        Of all sequences that there are, also where these are some of them.
    """

    inputs: SequenceSamples
    labels: list[Array]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def count(self) -> int:
        """How many sequences the mean loss is taken over."""
        return self.inputs.count

    @property
    def x(self) -> Array:
        """The inputs of a batch, (N, T, I), or tokens (N, T)."""
        return self.inputs.x

    @property
    def lengths(self) -> Lengths | None:
        """Valid steps of each sequence; None where all are."""
        return self.inputs.lengths

    @property
    def counted(self) -> Array | None:
        """Which sequences count, (N,); None where all do."""
        return self.inputs.counted

    @property
    def y(self) -> LabelSequences:
        """The labels side by side, padded behind, with all lengths."""
        rows = [self.labels[i] for i in self.inputs.y]
        lengths = self.lengths
        if lengths is None:
            lengths = np.full(len(self), self.x.shape[1], np.int64)
        return LabelSequences.side_by_side(rows, lengths)

    def take(self, which: Choice) -> LabelSequenceSamples:
        """Return the chosen sequences, cut after the longest of them."""
        return LabelSequenceSamples(self.inputs.take(which), self.labels)


def label_sequence_samples(
    loss: CTC, symbols: int, x: Array, lengths: Lengths | None, y: Any, mask: Any = None
) -> LabelSequenceSamples:
    """Check labels against inputs that are checked already.

    Parameters
    ----------
    loss : CTC
    symbols : int
        V, the blank among them.
    x, lengths
        As `SequenceSamples` holds them.
    y : list of N array_like of int, (S_i,)
        In [0, V) and not the blank; no more than fit in the sequence's steps.
    mask : array_like of bool, shape (N,), optional
        Which sequences count.

    Raises
    ------
    ValueError, TypeError
        If something is of another shape or dtype, or out of range, labels do not fit in their
        steps, there is no sequence, or nothing counts.
    """
    N = len(x)
    places = Wanted(SoftmaxCrossEntropy(), max(N, 1), per_step=False, dtype=x.dtype)
    steps = np.full(N, x.shape[1], np.int64) if lengths is None else lengths
    labels, fits = loss.read_labels(y, symbols, steps, mask)
    return LabelSequenceSamples(sequence_samples(places, x, lengths, np.arange(N), fits), labels)
