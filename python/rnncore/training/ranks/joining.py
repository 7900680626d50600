"""joined: several ranks come together for one training, and leave together."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rnncore.training.ranks.communicator import check_communicator
from rnncore.training.ranks.cores import sharing_cores
from rnncore.training.ranks.host import Host
from rnncore.training.ranks.interrupts import Interrupts
from rnncore.training.ranks.ranks import Ranks
from rnncore.training.ranks.reduction import read_reduction
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
        interrupts = stack.enter_context(Interrupts())
        ranks = Ranks(found, order, interrupts)
        if ranks.size > 1:
            with _saying_who_waits(ranks):
                hosts = ranks.gather(Host.here())
            stack.enter_context(watching(ranks, hosts))
            stack.enter_context(sharing_cores(ranks, hosts))
        with ranks.together():
            yield ranks
        ranks.meet(interruptible=True)


@contextmanager
def _saying_who_waits(ranks: Ranks) -> Iterator[None]:
    """Say so if the body takes long: another rank may have ended before it came here."""
    text = f"rnncore: rank {ranks.rank} of {ranks.size} waits in fit for all the others to come\n"
    timer = threading.Timer(_PATIENCE, sys.stderr.write, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
