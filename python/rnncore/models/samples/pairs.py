"""PairSamples: sources, and the sequences of tokens that are to be generated from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnncore._checks import as_integers, as_numpy, check_lengths, refuse
from rnncore._ragged import is_ragged
from rnncore._types import Array, Lengths
from rnncore.decoding import SpecialTokens
from rnncore.models.samples.chosen import Choice, chosen


@dataclass(eq=False)
class PairSamples:
    """N sources and, for each, its target: the tokens to be generated.

    Attributes
    ----------
    x : numpy.ndarray, shape (N, T, I), tokens (N, T), or vectors (N, F)
        Sources.
    lengths : numpy.ndarray of int64, shape (N,), or None
        Valid steps of the sources; None where all are.
    labels : numpy.ndarray of int64, shape (N, S)
        Each target with the end token behind it; end tokens up to S.
    steps : numpy.ndarray of int64, shape (N,)
        Length of each target, its end token counted.
    """

    x: Array
    lengths: Lengths | None
    labels: Array
    steps: Lengths

    def __len__(self) -> int:
        return len(self.x)

    @property
    def count(self) -> int:
        """How many labels the mean loss is taken over."""
        return int(self.steps.sum())

    @cached_property
    def valid(self) -> Array:
        """Where the loss counts: (N, S), True up to the end token of each target."""
        return np.asarray(np.arange(self.labels.shape[1]) < self.steps[:, None])

    def inputs(self, start: int) -> Array:
        """Return what is fed back under teacher forcing: the labels, one step later."""
        first = np.full((len(self.labels), 1), start)
        return np.concatenate([first, self.labels[:, :-1]], axis=1)

    def take(self, which: Choice) -> PairSamples:
        """Return the chosen pairs, cut after the longest source and target among them."""
        lengths, T = None, None
        if self.lengths is not None:
            lengths = self.lengths[which]
            T = int(lengths.max(initial=0))
        steps = self.steps[which]
        S = int(steps.max(initial=1))
        return PairSamples(chosen(self.x, which, T), lengths, chosen(self.labels, which, S), steps)


def pair_samples(
    x: Array, lengths: Lengths | None, y: Any, V: int, special: SpecialTokens
) -> PairSamples:
    """Check targets of V tokens against sources that are checked already.

    Parameters
    ----------
    x, lengths
        As `PairSamples` holds them.
    y : list of N array_like of int (S_i,); a pair of (N, S) and lengths (N,); array_like (N, S)
        Labels without special tokens; S_i may be 0. The pair is what `rnncore.data.pad`
        gives: what lies behind a length is not read.
    V : int
    special : SpecialTokens

    Raises
    ------
    TypeError
        If y holds no integers.
    ValueError
        If there are not N targets, or a label is out of range or a special token.
    """
    targets = _read_targets(y)
    if len(targets) != len(x):
        raise ValueError(f"y: expected {len(x)} sequences as in x, got {len(targets)}")
    steps = np.array([len(target) + 1 for _, target in targets], np.int64)
    labels = np.full((len(targets), int(steps.max(initial=1))), special.end)
    for into, (name, target) in zip(labels, targets, strict=True):
        into[: len(target)] = target
        wrong = (target < 0) | (target >= V) | (target == special.start) | (target == special.end)
        refuse(
            name, target, wrong,
            f"labels in [0, {V}) but for the special tokens {special.start} and {special.end}",
        )  # fmt: skip
    return PairSamples(x, lengths, labels, steps)


def _read_labels(name: str, target: Any) -> Array:
    labels = as_integers(name, target, "integer labels")
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected labels (S_i,), got {labels.shape}")
    return labels


def padded_targets(y: Any) -> Array:
    """Return what comes with lengths as an array (N, S); ValueError for anything else."""
    if is_ragged(y):
        raise ValueError("lengths: expected None with a list of targets, got an array")
    table = as_numpy("y", y)
    if table.ndim != 2:
        raise ValueError(f"y: expected (N, S) with lengths, got {table.shape}")
    return table


def _read_targets(y: Any) -> list[tuple[str, Array]]:
    """Return each target as integers (S_i,), and its name for errors."""
    ends: Lengths | None = None
    if isinstance(y, tuple) and len(y) == 2 and np.ndim(as_numpy("y[0]", y[0])) == 2:
        name, table = "y[0]", as_integers("y[0]", y[0], "integer labels")
        ends = check_lengths(y[1], table.shape[1], len(table))
    elif isinstance(y, (list, tuple)):
        return [(f"y[{i}]", _read_labels(f"y[{i}]", target)) for i, target in enumerate(y)]
    else:
        name, table = "y", as_integers("y", y, "integer labels")
        if table.ndim != 2:
            raise ValueError(f"y: expected labels (N, S) or a list of (S_i,), got {table.shape}")
    if ends is None:
        ends = np.full(len(table), table.shape[1])
    each = enumerate(zip(table, ends, strict=True))
    return [(f"{name}[{i}]", line[:end]) for i, (line, end) in each]
