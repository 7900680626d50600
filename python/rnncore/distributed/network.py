"""SimulatedNetwork: a communicator whose messages take as long as on a slower network."""

from __future__ import annotations

import math
import time
from typing import Any

from rnncore._checks import not_negative, number


class SimulatedNetwork:
    """A communicator around another one, with latency and bandwidth as of a network.

    A sum of n bytes over R ranks arrives no earlier than ``2 ceil(log2 R) latency + 2 (R - 1) / R
    n / bandwidth`` seconds after it was sent (Rabenseifner's algorithm: Thakur, Rabenseifner and
    Gropp 2005): to see here what a training will do there. Only what each step sends is slowed
    down, not what `fit` compares at its start.

    Parameters
    ----------
    comm : Communicator
        Such as ``MPI.COMM_WORLD``.
    latency : float
        Seconds for an empty message from one rank to another, >= 0.
    bandwidth : float
        Bytes a second that each rank can send and receive, > 0; ``math.inf`` for no limit.

    Raises
    ------
    ValueError, TypeError
        If a number is not as described.
    """

    def __init__(self, comm: Any, *, latency: float, bandwidth: float = math.inf) -> None:
        self._comm = comm
        self.latency = not_negative("latency", latency)
        self.bandwidth = number("bandwidth", bandwidth, "a number > 0")
        if not self.bandwidth > 0:
            raise ValueError(f"bandwidth: expected a number > 0, got {bandwidth!r}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)  # what is not slowed down

    def seconds(self, size: int) -> float:
        """Return how long a sum of so many bytes takes."""
        return self._rounds() * self.latency + 2 * self._share() * size / self.bandwidth

    def Iallreduce(self, sendbuf: Any, recvbuf: Any) -> Any:
        """Sum arrays of all ranks."""
        seconds = self.seconds(sendbuf.nbytes)
        return _Delayed(self._comm.Iallreduce(sendbuf, recvbuf), seconds)

    def Ialltoallv(self, sendbuf: Any, recvbuf: Any) -> Any:
        """Send a part of an array to each rank: the first half of a sum."""
        seconds = self._half(sendbuf[0].nbytes)
        return _Delayed(self._comm.Ialltoallv(sendbuf, recvbuf), seconds)

    def Iallgatherv(self, sendbuf: Any, recvbuf: Any) -> Any:
        """Put arrays of all ranks one behind another: the second half of a sum."""
        seconds = self._half(recvbuf[0].nbytes)
        return _Delayed(self._comm.Iallgatherv(sendbuf, recvbuf), seconds)

    def _rounds(self) -> int:
        return 2 * (int(self._comm.Get_size()) - 1).bit_length()

    def _share(self) -> float:
        return 1 - 1 / float(self._comm.Get_size())

    def _half(self, size: int) -> float:
        return self._rounds() / 2 * self.latency + self._share() * size / self.bandwidth


class _Delayed:
    """A request that is not done before its time."""

    def __init__(self, request: Any, seconds: float) -> None:
        self._request, self._done = request, False
        self._time = time.perf_counter() + seconds

    def Test(self) -> bool:
        """Whether it has arrived, and would have there."""
        self._done = self._done or self._request.Test()
        return self._done and time.perf_counter() >= self._time
