"""ValueSamples: vectors, and the sequences of values that are to follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import check_lengths
from rnncore._types import Array, Lengths
from rnncore.models.inputs import Inputs, refuse_lengths
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.held import HeldList
from rnncore.models.samples.reading import Counting, read_targets, read_values
from rnncore.models.samples.targets import TargetBatch, Targets, Wanted


@dataclass(eq=False, slots=True)
class ValueBatch(TargetBatch):
    """Some of the vectors, and the values that are to follow from them.

    Attributes
    ----------
    x : numpy.ndarray, shape (B, F)
        Vectors, in C order.
    lengths : numpy.ndarray of int64, shape (B,)
        Valid steps of y, whose padding is zero.
    """

    x: Array
    lengths: Lengths

    @property
    def valid(self) -> Array:
        """(B, S), True up to each sequence's end."""
        return np.asarray(np.arange(self.y.shape[1]) < self.lengths[:, None])


@dataclass(eq=False, slots=True)
class ValueSamples:
    """N vectors and, for each, the values that are to follow from it, as the user gave them.

    Attributes
    ----------
    inputs : Inputs
        Vectors (N, F).
    targets : Targets
        Values (N, T, O) or (T_i, O), with lengths.
    """

    inputs: Inputs
    targets: Targets

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def count(self) -> float:
        """What the mean loss is taken over."""
        return self.targets.count

    @property
    def lengths(self) -> Lengths | None:
        """Valid steps of each sequence."""
        return self.targets.lengths

    def take(self, which: Choice, *, whole: bool = False) -> ValueBatch:
        """Return the chosen ones, cut after the longest of them unless `whole`."""
        assert self.targets.lengths is not None
        lengths: Lengths = self.targets.lengths[which]
        found = self.targets.take(which, self.targets.values.steps if whole else None)
        y = found.y
        if not isinstance(self.targets.values, HeldList):  # behind an end there may be anything
            valid = np.asarray(np.arange(y.shape[1]) < lengths[:, None])
            y = np.where(valid[:, :, None], y, y.dtype.type(0))
        x = np.ascontiguousarray(self.inputs.take(which)[0])
        return ValueBatch(y, found.counted, found.weights, found.rows, x, lengths)


def value_samples(
    wanted: Wanted, inputs: Inputs, y: Any, lengths: Any, counting: Counting, fed: bool
) -> ValueSamples:
    """Check vectors and targets, all of them.

    Parameters
    ----------
    wanted : Wanted
    inputs : Inputs
        Vectors (N, F).
    y : array_like, shape (N, T, O), or list of N arrays (T_i, O)
        Finite where it counts; without the last axis too where O = 1.
    lengths : array_like of int, shape (N,), or None
        Valid steps of an array y.
    counting : Counting
    fed : bool
        Whether targets feed back: then they are finite at every valid step.

    Raises
    ------
    ValueError, TypeError
        If something is of another shape or dtype, an input, or a target that counts, is NaN or
        infinite, or nothing counts.
    """
    inputs.refuse_none()
    values = read_values(wanted, y, (len(inputs), "T"), inputs)
    if isinstance(values, HeldList):
        refuse_lengths(lengths, "targets")
        steps: Lengths = values.lengths
    else:
        checked = check_lengths(lengths, values.steps, len(values))
        steps = np.full(len(values), values.steps, np.int64) if checked is None else checked
    inputs.check()
    if fed:
        Targets(wanted, values, steps).check_finite("since targets feed back")
    return ValueSamples(inputs, read_targets(wanted, values, values.steps, steps, counting))
