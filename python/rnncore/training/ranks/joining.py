"""joined: several ranks come together for one training, and leave together."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rnncore._checks import users_level
from rnncore.training.ranks.communicator import Communicator, check_communicator
from rnncore.training.ranks.cores import sharing_cores
from rnncore.training.ranks.host import Host
from rnncore.training.ranks.interrupts import Interrupts
from rnncore.training.ranks.ranks import Ranks
from rnncore.training.ranks.reduction import Ordered, read_reduction
from rnncore.training.ranks.watch import watching

_PATIENCE = 30.0  # seconds, after which a rank says that it waits for the others


@contextmanager
def joined(comm: Any, reduction: Any) -> Iterator[Ranks]:
    """Let the body train as one of the ranks of a communicator; None is a rank alone.

    Parameters
    ----------
    comm : Communicator or Ranks, optional
        Ranks have joined already.
    reduction : {"sum", "ordered"} or Ordered
    """
    if isinstance(comm, Ranks):
        yield comm
        return
    found, order = check_communicator(comm), read_reduction(reduction)
    if found is None or (found.Get_size() == 1 and order is None):
        yield Ranks(None, order, Interrupts())
        return
    with ExitStack() as stack:
        interrupts, why = stack.enter_context(Interrupts()), ""
        hosts = _hosts(found, order)
        ranks = Ranks(found, order, interrupts)
        if ranks.size > 1:
            why = stack.enter_context(watching(ranks, hosts))
            stack.enter_context(sharing_cores(ranks, hosts))
        with ranks.together():
            if why and ranks.first:
                warnings.warn(
                    f"comm: expected connections between all ranks, got {why!r}; should a rank "
                    "die, the others may wait for it",
                    stacklevel=users_level(),
                )
            yield ranks
        ranks.meet(interruptible=True)


def _hosts(comm: Communicator, order: Ordered | None) -> list[Host]:
    """Return where each rank runs; ValueError on all if they are to sum in different ways."""
    with _saying_who_waits(comm):
        found = comm.allgather((Host.here(), order))
    for rank, (_, other) in enumerate(found):
        if other != found[0][1]:
            raise ValueError(
                f"reduction: expected the same on every rank, got another one on rank {rank} than "
                "on rank 0"
            )
    return [host for host, _ in found]


@contextmanager
def _saying_who_waits(comm: Communicator) -> Iterator[None]:
    """Say so if the body takes long: another rank may have ended before it came here."""
    rank, size = comm.Get_rank(), comm.Get_size()
    text = f"rnncore: rank {rank} of {size} waits in fit for all the others to come\n"
    timer = threading.Timer(_PATIENCE, sys.stderr.write, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
