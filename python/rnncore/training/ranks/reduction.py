"""How gradients of several ranks become one: a plain sum, or one in an order that never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import positive_int
from rnncore._types import Array
from rnncore.training.ranks.communicator import Communicator, wait
from rnncore.training.ranks.shards import Shard


@dataclass(frozen=True)
class Ordered:
    """Sum gradients so that the bits do not depend on how many ranks there are.

    Each batch is cut into micro-batches, whatever the number of ranks. Each is computed by one rank
    and draws from generators of its own; their gradients are added pair by pair, always in the same
    pairs. What it costs: products of smaller batches, and messages up to twice as long.

    Parameters
    ----------
    micro_batches : int
        A power of two, at least the number of ranks.
    """

    micro_batches: int = 8

    def __post_init__(self) -> None:
        count = positive_int("micro_batches", self.micro_batches)
        if count & (count - 1):
            raise ValueError(f"micro_batches: expected a power of two, got {count}")


def read_reduction(reduction: Any) -> Ordered | None:
    """Return an order of the sum, or None for any; ValueError or TypeError for anything else."""
    if isinstance(reduction, Ordered):
        return reduction
    if not isinstance(reduction, str):
        raise TypeError(f"reduction: expected 'sum', 'ordered' or Ordered(), got {reduction!r}")
    if reduction not in ("sum", "ordered"):
        raise ValueError(f"reduction: expected 'sum', 'ordered' or Ordered(), got {reduction!r}")
    return Ordered() if reduction == "ordered" else None


def nodes(first: int, stop: int) -> list[range]:
    """Cut [first, stop) into the fewest ranges that are nodes of a binary tree over all numbers."""
    found = []
    while first < stop:
        size = first & -first or 1 << (stop - 1).bit_length()  # the largest that may begin here
        while size > stop - first:
            size //= 2
        found.append(range(first, first + size))
        first += size
    return found


def tree_sum(parts: Sequence[Array]) -> Array:
    """Return the sum of 2^k arrays, added pair by pair."""
    while len(parts) > 1:
        parts = [parts[i] + parts[i + 1] for i in range(0, len(parts), 2)]
    return parts[0]


def ordered_sum(comm: Communicator | None, micro_batches: int, own: Sequence[Array]) -> Array:
    """Return the sum of one array of each micro-batch, added in the same pairs by any ranks.

    Parameters
    ----------
    comm : Communicator or None
    micro_batches : int
        P.
    own : sequence of numpy.ndarray, each (n,)
        Those of this rank's micro-batches.
    """
    if comm is None:
        return tree_sum(own)
    size, rank = comm.Get_size(), comm.Get_rank()
    each = [Shard(r, size).rows(micro_batches) for r in range(size)]
    trees = [nodes(part.start, part.stop) for part in each]
    first = each[rank].start
    sums = [tree_sum(own[node.start - first : node.stop - first]) for node in trees[rank]]
    n = len(own[0])
    cuts = [Shard(r, size).rows(n) for r in range(size)]
    mine = _exchanged(comm, sums, cuts, [len(tree) for tree in trees])
    found = _joined(dict(zip([node for tree in trees for node in tree], mine, strict=True)))
    result = np.empty(n, own[0].dtype)
    wait(comm.Iallgatherv(found, [result, [cut.stop - cut.start for cut in cuts]]))
    return result


def _exchanged(
    comm: Communicator, sums: Sequence[Array], cuts: Sequence[slice], counts: Sequence[int]
) -> Array:
    """Return this rank's cut of the sums of all ranks, (nodes of all, its length)."""
    length = [cut.stop - cut.start for cut in cuts]
    own = length[comm.Get_rank()]
    sent = np.concatenate([some[cut] for cut in cuts for some in sums])
    got = np.empty(sum(counts) * own, sent.dtype)
    wait(comm.Ialltoallv([sent, [len(sums) * n for n in length]], [got, [c * own for c in counts]]))
    return got.reshape(sum(counts), own)


def _joined(found: dict[range, Array]) -> Array:
    """Add neighbouring nodes until one is left."""
    while len(found) > 1:
        least = min(len(node) for node in found)
        ready = sorted((node for node in found if len(node) == least), key=lambda node: node.start)
        for left, right in zip(ready[::2], ready[1::2], strict=True):
            found[range(left.start, right.stop)] = found.pop(left) + found.pop(right)
    (result,) = found.values()
    return result
