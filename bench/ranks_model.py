"""How long a training step of many ranks takes: what each computes, and the messages behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from rnncore.distributed import SimulatedNetwork

MEETING = 56
"""Bytes of the second message of each batch: losses, and whether all is well."""

BACKWARD = 2 / 3
"""What part of computing is the backward pass, by the convention of bench/README.md."""

FULL = 64
"""Sequences of a rank that computes as well as it can: the efficiency is against one such alone."""

STOPS = 0.5
"""It stops paying where the efficiency falls below this."""


class Network(NamedTuple):
    """Seconds of an empty message, and bytes a second that a rank sends and receives."""

    latency: float
    bandwidth: float

    def seconds(self, ranks: int, size: float) -> float:
        """Return how long a sum of `size` bytes takes: the formula of `SimulatedNetwork`."""
        comm = SimpleNamespace(Get_size=lambda: ranks)
        return SimulatedNetwork(comm, **self._asdict()).seconds(size)  # type: ignore[arg-type]


NETWORKS = {"10 Gbit/s": Network(30e-6, 1.25e9), "100 Gbit/s": Network(2e-6, 12.5e9)}
"""Of the predictions: TCP, and RDMA. The latencies are assumptions."""


def fitted(times: Mapping[tuple[int, int], float]) -> Network:
    """Return the network whose sums take about the times that were measured.

    Least squares of relative errors; without latency where that would be negative.

    Parameters
    ----------
    times : mapping of (ranks, bytes) to float
        Seconds.
    """
    seconds = np.array(list(times.values()))
    units = Network(1.0, np.inf), Network(0.0, 1.0)
    columns = np.array([[unit.seconds(*key) for unit in units] for key in times])
    scaled = columns / seconds[:, None]
    (latency, inverse), *_ = np.linalg.lstsq(scaled, np.ones(len(seconds)))
    if latency < 0:
        latency, (inverse,) = 0.0, np.linalg.lstsq(scaled[:, 1:], np.ones(len(seconds)))[0]
    return Network(float(latency), float(1 / inverse))


@dataclass(frozen=True)
class Load:
    """What a model asks of a rank and of the network.

    Attributes
    ----------
    size : int
        Bytes of the gradient.
    compute : mapping of int to float
        Seconds of a step of one rank alone, by its number of sequences.
    """

    size: int
    compute: Mapping[int, float]

    def computing(self, batch: float) -> float:
        """Return seconds of a step of one rank, on straight lines through what was measured."""
        known = sorted(self.compute)
        if batch > known[-1]:
            return self.compute[known[-1]] * batch / known[-1]
        return float(np.interp(batch, known, [self.compute[each] for each in known]))

    def efficiency(self, sequences: float, seconds: float) -> float:
        """Return sequences a second of each rank, by those of one alone."""
        return sequences / seconds * self.computing(FULL) / FULL


def message(network: Network, ranks: int, size: int, batches: int = 1) -> float:
    """Return seconds that a step's messages take: of the gradient, and of each of its batches."""
    if ranks == 1:
        return 0.0
    return network.seconds(ranks, size) + batches * network.seconds(ranks, MEETING)


def step(load: Load, network: Network, ranks: int, batch: float, accumulate: int = 1) -> float:
    """Return seconds of a step in which each rank computes so many batches of `batch` sequences."""
    sent = message(network, ranks, load.size, accumulate)
    return accumulate * load.computing(batch) + sent


def efficiency(
    load: Load, network: Network, ranks: int, batch: float, accumulate: int = 1
) -> float:
    """Return the efficiency of ranks that compute as many batches of `batch` sequences a step."""
    return load.efficiency(batch * accumulate, step(load, network, ranks, batch, accumulate))


def averaged(load: Load, network: Network, ranks: int, batch: float, every: int) -> float:
    """Return the efficiency where each rank steps alone, and parameters are averaged now and then.

    There are no other messages.
    """
    seconds = every * load.computing(batch) + network.seconds(ranks, load.size)
    return load.efficiency(batch * every, seconds)


def overlapped(load: Load, network: Network, ranks: int, batch: float) -> float:
    """Return by what factor steps could be faster at most if messages went beside the backward."""
    whole = step(load, network, ranks, batch)
    sent = message(network, ranks, load.size)
    return whole / (whole - min(sent, BACKWARD * load.computing(batch)))


def stops_paying(load: Load, network: Network, total: int | None, limit: int = 2**20) -> int | None:
    """Return the least power of two of ranks whose efficiency is below `STOPS`; None up to `limit`.

    Parameters
    ----------
    total : int, optional
        Sequences of a step of all ranks, at least one for each; else each has `FULL` of its own.
    """
    ranks = 1
    while ranks <= (limit if total is None else min(limit, total)):
        batch = FULL if total is None else total / ranks
        if efficiency(load, network, ranks, batch) < STOPS:
            return ranks
        ranks *= 2
    return None
