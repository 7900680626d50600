"""SequenceSamples: sequences and, for each of them or for each of its steps, a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnncore._types import Array, Lengths
from rnncore.models.inputs import Inputs
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.held import Held
from rnncore.models.samples.reading import (
    Counting,
    check_steps,
    read_flags,
    read_targets,
    read_values,
)
from rnncore.models.samples.targets import TargetBatch, Targets, Wanted


@dataclass(eq=False, slots=True)
class SequenceBatch(TargetBatch):
    """Some of the sequences, padded to the longest of them, and what to learn of them.

    Attributes
    ----------
    x : numpy.ndarray, shape (B, S, I), or tokens (B, S)
        Inputs.
    lengths : numpy.ndarray of int64, shape (B,), or None
        Valid steps; None where all are.
    resets : numpy.ndarray of bool, shape (B, S), or None
        Where the state in front of a step is the initial one.
    """

    x: Array
    lengths: Lengths | None
    resets: Array | None

    @property
    def state(self) -> Any:
        """Where the sequences go on from; None: zeros."""
        return None

    def carry(self, state: Any) -> None:
        """Take the state behind the batch, from which nothing goes on."""


@dataclass(eq=False, slots=True)
class SequenceSamples:
    """N sequences and what to learn of them, as the user gave them.

    Attributes
    ----------
    inputs : Inputs
    targets : Targets
    resets : HeldArray or HeldList, or None
        Booleans (N, T).
    """

    inputs: Inputs
    targets: Targets
    resets: Held | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def count(self) -> float:
        """What the mean loss is taken over."""
        return self.targets.count

    @property
    def lengths(self) -> Lengths | None:
        """Valid steps of each sequence; None where all are as long."""
        return self.inputs.lengths

    def moments(self) -> tuple[Array, Array] | None:
        """Return mean and variance of each number of the targets; None unless they are values."""
        return self.targets.moments() if self.targets.wanted.kind == "values" else None

    def take(self, which: Choice) -> SequenceBatch:
        """Return the chosen sequences, cut after the longest of them."""
        x, lengths = self.inputs.take(which)
        found = self.targets.take(which)
        resets = None if self.resets is None else self.resets.take(which, x.shape[1])
        return SequenceBatch(found.y, found.counted, found.weights, found.rows, x, lengths, resets)


def sequence_samples(
    wanted: Wanted, inputs: Inputs, y: Any, counting: Counting, resets: Any = None
) -> SequenceSamples:
    """Check inputs and targets, all of them.

    Parameters
    ----------
    wanted : Wanted
    inputs : Inputs
    y : array_like
        Shape (N, O) or (N, T, O), without the last axis too where O = 1; for the losses of labels
        integers (N,) or (N, T). Per step a list of N arrays too.
    counting : Counting
    resets : array_like of bool, shape (N, T), or list of N arrays (T_i,), optional

    Raises
    ------
    ValueError, TypeError, IndexError
        If something is of another shape or dtype, an input, or a target that counts, is NaN,
        infinite or out of range, there is no sequence, or nothing counts.
    """
    inputs.refuse_none()
    N, T = len(inputs), inputs.steps
    values = read_values(wanted, y, (N, T) if wanted.per_step else (N,), inputs)
    if wanted.per_step:
        check_steps(values, T, inputs.lengths)
    cuts = None if resets is None else read_flags("resets", resets, (N, T), inputs.lengths)
    inputs.check()
    targets = read_targets(wanted, values, T, inputs.lengths, counting)
    return SequenceSamples(inputs, targets, cuts)
