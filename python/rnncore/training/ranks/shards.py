"""Shards: which samples of a batch each rank, or each micro-batch, takes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array, Lengths


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `total` equal ones, counted from 0."""

    number: int
    total: int

    def rows(self, count: int) -> slice:
        """Return which of so many rows it has; shards differ by one at most."""
        first, last = (count * k // self.total for k in (self.number, self.number + 1))
        return slice(first, last)


def shards_of(which: Any, samples: Any, shards: Sequence[Shard]) -> list[Any]:
    """Return what `Samples.take` takes for some shards of a batch.

    The shards of a batch are the same on every rank; together they are all of it, each sample once.
    Where samples have lengths the shards have about the same sum of steps.

    Parameters
    ----------
    which : slice, numpy.ndarray, or an object with `some` and `lengths`
        The batch.
    samples : Samples
        Of all ranks.
    shards : sequence of Shard
        Of the same total.
    """
    if hasattr(which, "some"):  # of samples that lie on a disk
        return [which.some(each) for each in _positions(len(which), which.lengths, shards)]
    if isinstance(which, slice):
        first, stop, _ = which.indices(len(samples))
        if samples.lengths is None:
            rows = [shard.rows(stop - first) for shard in shards]
            return [slice(first + each.start, first + each.stop) for each in rows]
        which = np.arange(first, stop)
    lengths = None if samples.lengths is None else samples.lengths[which]
    return [which[each] for each in _positions(len(which), lengths, shards)]


def _positions(count: int, lengths: Lengths | None, shards: Sequence[Shard]) -> list[Any]:
    if lengths is None:
        return [shard.rows(count) for shard in shards]
    dealt = balanced(lengths, shards[0].total)
    return [dealt[shard.number] for shard in shards]


def balanced(steps: Lengths, shards: int) -> list[Array]:
    """Deal out samples so that shards have about the same sum of steps.

    The longest that is left goes to the shard with the least (Graham 1969): the largest sum is at
    most 4/3 of the best possible.

    Returns
    -------
    list of numpy.ndarray of int64
        Positions in `steps`, ascending.
    """
    taken: list[list[int]] = [[] for _ in range(shards)]
    sums = [(0, shard) for shard in range(shards)]
    values = steps.tolist()
    for i in np.argsort(-steps, kind="stable").tolist():
        least, shard = sums[0]
        heapq.heapreplace(sums, (least + values[i] + 1, shard))  # + 1: empty ones count too
        taken[shard].append(i)
    return [np.array(sorted(each), np.int64) for each in taken]
