"""Shards: which samples of a batch each rank, or each micro-batch, takes."""

from __future__ import annotations

import heapq
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


def shard_of(which: Any, samples: Any, shard: Shard) -> Any:
    """Return what `Samples.take` takes for one shard of a batch.

    The shards of a batch are the same on every rank; together they are all of it, each sample once.
    Where samples have lengths the shards have about the same sum of steps.

    Parameters
    ----------
    which : slice, numpy.ndarray, or an object with `some` and `lengths`
        The batch.
    samples : Samples
        Of all ranks.
    shard : Shard
    """
    if hasattr(which, "some"):  # of samples that lie on a disk
        return which.some(_positions(len(which), which.lengths, shard))
    if isinstance(which, slice):
        first, stop, _ = which.indices(len(samples))
        if samples.lengths is None:
            rows = shard.rows(stop - first)
            return slice(first + rows.start, first + rows.stop)
        which = np.arange(first, stop)
    lengths = None if samples.lengths is None else samples.lengths[which]
    return which[_positions(len(which), lengths, shard)]


def _positions(count: int, lengths: Lengths | None, shard: Shard) -> Any:
    if lengths is None:
        return shard.rows(count)
    return balanced(lengths, shard.total)[shard.number]


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
