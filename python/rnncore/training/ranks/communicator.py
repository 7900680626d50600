"""Communicator: what a training asks of MPI, in mpi4py's words."""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

from rnncore._types import Array

_SPINS = 2000  # looks at a message that is on its way, before others may have the core
_PATIENT = 0.02  # seconds, after which a wait sleeps between two looks


class Request(Protocol):
    """A message on its way."""

    def Test(self) -> bool:
        """Whether it has arrived; lets it go on."""


class Communicator(Protocol):
    """The ranks of a job, as ``mpi4py.MPI.COMM_WORLD``: what `fit` calls of it."""

    def Get_rank(self) -> int:
        """Return which rank this is."""

    def Get_size(self) -> int:
        """Return how many there are."""

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """Return the object of one rank on all."""

    def allgather(self, sendobj: Any) -> Any:
        """Return the objects of all ranks."""

    def Iallreduce(self, sendbuf: Any, recvbuf: Any) -> Any:
        """Sum arrays of all ranks."""

    def Ialltoallv(self, sendbuf: Any, recvbuf: Any) -> Any:
        """Send a part of an array to each rank."""

    def Iallgatherv(self, sendbuf: Any, recvbuf: Any) -> Any:
        """Put arrays of all ranks one behind another."""


_METHODS = [name for name in vars(Communicator) if not name.startswith("_")]


def check_communicator(comm: Any) -> Communicator | None:
    """Return a communicator; TypeError for what is none, ValueError for one of no use."""
    missing = [] if comm is None else [name for name in _METHODS if not hasattr(comm, name)]
    if missing or isinstance(comm, type):
        raise TypeError(f"comm: expected a communicator such as MPI.COMM_WORLD, got {comm!r}")
    if comm is not None and not comm:  # as mpi4py says of MPI.COMM_NULL
        raise ValueError(
            "comm: expected a communicator that this process is a rank of, got a null communicator"
        )
    if getattr(comm, "Is_inter", lambda: False)():
        raise ValueError(
            "comm: expected a communicator of one group of ranks, got one between two groups; "
            "use comm.Merge()"
        )
    checked: Communicator | None = comm
    return checked


def wait(request: Request) -> None:
    """Wait for a message: at first without leaving the core, then leaving it to others."""
    for _ in range(_SPINS):
        if request.Test():
            return
    start = time.monotonic()
    while not request.Test():
        if time.monotonic() - start < _PATIENT:
            os.sched_yield()
        else:
            time.sleep(1e-3)


def total(comm: Communicator, values: Array) -> Array:
    """Return the sum of arrays of one shape over all ranks, the same on each."""
    result: Array = values.copy()
    wait(comm.Iallreduce(values, result))
    return result
