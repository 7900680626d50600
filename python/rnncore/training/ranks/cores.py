"""Cores: how many threads each of several ranks on one machine takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rnncore._native.threads import at_most, get_num_threads
from rnncore.training.ranks.host import Host
from rnncore.training.ranks.ranks import Ranks


def share_of_cores(own: frozenset[int], others: Sequence[frozenset[int]]) -> int:
    """Return how many threads a rank takes: its part of the cores that it may run on, at least 1.

    Parameters
    ----------
    own : frozenset of int
        Cores that this rank may run on.
    others : sequence of frozenset of int
        Those of each other rank on this machine. A core that k ranks may run on counts 1/k.
    """
    parts = [1 / (1 + sum(core in other for other in others)) for core in own]
    return max(1, int(sum(parts) + 1e-6))


@contextmanager
def sharing_cores(ranks: Ranks, hosts: Sequence[Host]) -> Iterator[None]:
    """Let the ranks of a machine share its cores inside, where nobody has set how many threads."""
    own = hosts[ranks.rank]
    if "OMP_NUM_THREADS" in os.environ or get_num_threads() != len(own.cores):
        yield
        return
    others = [each for i, each in enumerate(hosts) if i != ranks.rank]
    same = [each.cores for each in others if each.machine == own.machine]
    with at_most(share_of_cores(own.cores, same)):
        yield
