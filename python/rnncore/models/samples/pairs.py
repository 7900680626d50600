"""PairSamples: sources, and the sequences of tokens that are to be generated from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_integers, as_numpy, check_lengths, refuse
from rnncore._ragged import is_ragged
from rnncore._types import Array, Lengths
from rnncore.decoding import SpecialTokens
from rnncore.models.inputs import Inputs
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.held import HeldList
from rnncore.models.samples.reading import Counting, other_count, read_targets, refuse_step_options
from rnncore.models.samples.targets import TargetBatch, Targets, Wanted

_INT64 = np.dtype(np.int64)


@dataclass(eq=False, slots=True)
class PairBatch(TargetBatch):
    """Some of the sources, and the tokens that are to be generated from them.

    Attributes
    ----------
    y : numpy.ndarray of int64, shape (B, S)
        Each target with the end token behind it; end tokens up to S.
    x : numpy.ndarray, shape (B, T, I), tokens (B, T), or vectors (B, F) in C order
        Sources.
    lengths : numpy.ndarray of int64, shape (B,), or None
        Valid steps of the sources; None where all are.
    steps : numpy.ndarray of int64, shape (B,)
        Length of each target, its end token counted.
    """

    x: Array
    lengths: Lengths | None
    steps: Lengths

    @property
    def valid(self) -> Array:
        """(B, S), True up to the end token of each target."""
        return np.asarray(np.arange(self.y.shape[1]) < self.steps[:, None])

    def inputs(self, start: int) -> Array:
        """Return what is fed back under teacher forcing: the labels, one step later."""
        first = np.full((len(self.y), 1), start)
        return np.concatenate([first, self.y[:, :-1]], axis=1)


@dataclass(eq=False, slots=True)
class PairSamples:
    """N sources and, for each, its target: the tokens to be generated; as the user gave them.

    Attributes
    ----------
    sources : Inputs
        Sequences, or vectors (N, F).
    targets : Targets
        Labels (S_i,), padded with the end token; its lengths count one of them.
    """

    sources: Inputs
    targets: Targets

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def count(self) -> float:
        """What the mean loss is taken over."""
        return self.targets.count

    @property
    def steps(self) -> Lengths:
        """Length of each target, its end token counted."""
        assert self.targets.lengths is not None
        return self.targets.lengths

    @property
    def lengths(self) -> Lengths:
        """Steps of each pair: source and target."""
        own = self.sources.lengths
        return self.steps if own is None else self.steps + own

    def take(self, which: Choice, *, whole: bool = False) -> PairBatch:
        """Return the chosen pairs, cut after the longest source and target among them.

        With `whole` sources have all T steps.
        """
        x, lengths = self.sources.take(which, self.sources.steps if whole else None)
        if x.ndim == 2:
            x = np.ascontiguousarray(x)
        found = self.targets.take(which)
        return PairBatch(
            found.y, found.counted, found.weights, found.rows, x, lengths, self.steps[which]
        )


def pair_samples(
    wanted: Wanted, sources: Inputs, y: Any, counting: Counting, special: SpecialTokens
) -> PairSamples:
    """Check sources and targets, all of them.

    Parameters
    ----------
    wanted : Wanted
    sources : Inputs
    y : list of N array_like of int (S_i,); a pair of (N, S) and lengths (N,); array_like (N, S)
        Labels without special tokens; S_i may be 0. The pair is what `rnncore.data.pad`
        gives: what lies behind a length is not read.
    counting : Counting
        Its mask, step_weight and washout are not for pairs.
    special : SpecialTokens

    Raises
    ------
    TypeError
        If y holds no integers.
    ValueError
        If there are not N targets, a label is out of range or a special token, or a source holds
        NaN or infinity.
    IndexError
        If a token of a source is out of range.
    """
    if counting.mask is not None:
        got = type(counting.mask).__name__
        raise ValueError(f"mask: expected None, got {got}: every symbol counts")
    refuse_step_options(counting)
    sources.refuse_none()
    targets, V = _read_targets(y), wanted.size
    if len(targets) != len(sources):
        raise ValueError(other_count(sources, len(targets), f"of {len(targets)}"))
    for name, target in targets:
        wrong = (target < 0) | (target >= V) | (target == special.start) | (target == special.end)
        refuse(
            name, target, wrong,
            f"labels in [0, {V}) but for the special tokens {special.start} and {special.end}",
        )  # fmt: skip
    sources.check()
    lengths = np.array([len(target) for _, target in targets], np.int64)
    values = HeldList([target for _, target in targets], lengths, _INT64, special.end)
    steps = lengths + 1
    held = read_targets(wanted, values, int(steps.max()), steps, counting)
    return PairSamples(sources, held)


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
