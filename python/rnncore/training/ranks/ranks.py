"""Ranks: the processes that train one model together, and how they stay together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from rnncore._types import Array
from rnncore.training.ranks.communicator import Communicator, total, wait
from rnncore.training.ranks.interrupts import Interrupts
from rnncore.training.ranks.reduction import Ordered, ordered_sum
from rnncore.training.ranks.shards import Shard

_FAILED, _INTERRUPTED, _FLAG, _CLOCK, _VALUES = range(5)  # places in what a meeting adds up


class Meeting(NamedTuple):
    """What all ranks heard at a meeting: sums over all shards, and whether one raised its flag."""

    loss: float
    weight: float
    flag: bool


class Ranks:
    """The ranks of one training, seen from one of them; without a communicator it is alone.

    Every rank goes through the same meetings (`meet`, `gather`, `on_first`) in the same order. A
    rank that raises between two meetings says so at the next one, and all raise there: none waits
    for one that has left.

    Parameters
    ----------
    comm : Communicator or None
    order : Ordered or None
        Of sums.
    interrupts : Interrupts
        Whether Ctrl-C was pressed on this rank.

    Attributes
    ----------
    rank, size : int
        This one, and how many there are.
    total_shards : int
        Shards that each batch is cut into: one for each rank, or `Ordered.micro_batches`.
    plain : bool
        Whether one rank computes whole batches.
    shards : list of Shard
        Those of them that this rank computes.
    ended : bool
        Whether an error has ended the meetings: none comes any more.
    broken : bool
        Whether a message failed, so that the other ranks know nothing of this one's error.
    """

    def __init__(
        self, comm: Communicator | None, order: Ordered | None, interrupts: Interrupts
    ) -> None:
        self._comm, self._order, self._interrupts = comm, order, interrupts
        self.rank, self.size = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
        self.total_shards = self.size if order is None else order.micro_batches
        if self.total_shards < self.size:
            raise ValueError(
                f"reduction: expected at least as many micro-batches as ranks, {self.size}, got "
                f"{self.total_shards}; use reduction=Ordered(micro_batches=...)"
            )
        own = Shard(self.rank, self.size).rows(self.total_shards)
        self.shards = [Shard(number, self.total_shards) for number in range(own.start, own.stop)]
        self.plain = self.total_shards == 1
        self._clock = 0.0
        self.ended = False
        self.broken = False

    @property
    def first(self) -> bool:
        """Whether this rank is the one that prints and writes files."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others to meet."""
        return self._comm is None

    def clock(self) -> float:
        """Return seconds of the first rank's clock, as all ranks heard of it last."""
        return time.monotonic() if self._comm is None else self._clock

    def meet(
        self,
        losses: Sequence[tuple[int, float, float]] = (),
        error: BaseException | None = None,
        *,
        flag: bool = False,
        interruptible: bool = False,
    ) -> Meeting:
        """Meet the other ranks: add up losses, and hear whether all is well.

        Parameters
        ----------
        losses : sequence of (shard, loss times what counts, what counts)
        error : exception, optional
            What went wrong on this rank since the last meeting.
        flag : bool
            Something that is to hold for all where it holds for one.
        interruptible : bool
            Whether Ctrl-C on any rank ends all here.

        Returns
        -------
        Meeting
            The same on each rank.

        Raises
        ------
        BaseException
            `error`; on the other ranks RuntimeError, which names the rank and its error.
        KeyboardInterrupt
            Where it was pressed on any rank.
        """
        if error is not None and (self._comm is None or self.ended):
            raise error
        if self._comm is None:
            return Meeting(*_sum(losses), flag)
        if self.ended:
            raise RuntimeError("comm: expected no more meetings of ranks after an error")
        mine = np.zeros(_VALUES + 2 * (self.total_shards if self._order else 1))
        mine[_FAILED] = error is not None
        mine[_INTERRUPTED] = interruptible and self._interrupts.noted
        mine[_FLAG] = flag
        mine[_CLOCK] = time.monotonic() if self.first else 0.0
        if self._order is None:
            mine[_VALUES:] = _sum(losses)
        else:
            for shard, loss, count in losses:
                mine[_VALUES + 2 * shard :][:2] = loss, count
        found = self._unless_broken(lambda comm: total(comm, mine))
        if found[_FAILED] > 0:
            self._fail(error)
        if found[_INTERRUPTED] > 0:
            raise KeyboardInterrupt
        self._clock = float(found[_CLOCK])
        sums = found[_VALUES:].reshape(-1, 2).tolist()
        all_shards = _sum([(shard, *each) for shard, each in enumerate(sums)])
        return Meeting(*all_shards, bool(found[_FLAG] > 0))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Meet behind the body, whether it raises or not."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
        self.meet(error=error)

    def _fail(self, error: BaseException | None) -> None:
        """Raise what went wrong on some rank."""
        own = None if error is None else f"{type(error).__name__}: {error}"
        texts = self._unless_broken(lambda comm: comm.allgather(own))
        self.ended = True
        if error is not None:
            raise error
        rank, text = next((i, each) for i, each in enumerate(texts) if each is not None)
        if text.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt
        raise RuntimeError(f"rank {rank} of {self.size} failed with {text}")

    def _unless_broken(self, call: Callable[[Communicator], Any]) -> Any:
        """Call with the communicator; after an error nobody is waited for any more."""
        assert self._comm is not None
        try:
            return call(self._comm)
        except BaseException:
            self.ended = self.broken = True
            raise

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks; a meeting."""
        if self._comm is None:
            return [value]
        self.meet()
        return list(self._unless_broken(lambda comm: comm.allgather(value)))

    def from_first(self, value: Any) -> Any:
        """Return the first rank's value; a meeting."""
        if self._comm is None:
            return value
        self.meet()
        return self._unless_broken(lambda comm: comm.bcast(value))

    def on_first(self, function: Callable[[], Any]) -> Any:
        """Call on the first rank alone; return what it returns, or raise what it raises, on all."""
        value = None
        with self.together():
            value = function() if self.first else None
        return self.from_first(value)

    def add_up(self, own: Sequence[Array], out: Array) -> None:
        """Write the sum of the gradients of all shards.

        Parameters
        ----------
        own : sequence of numpy.ndarray, each (n,)
            Those of this rank's shards.
        out : numpy.ndarray, shape (n,)
            Another array.
        """
        order = self._order
        if order is not None:
            count = order.micro_batches
            out[...] = self._or_alone(lambda comm: ordered_sum(comm, count, own))
        else:
            self._unless_broken(lambda comm: wait(comm.Iallreduce(own[0], out)))

    def _or_alone(self, call: Callable[[Communicator | None], Any]) -> Any:
        return call(None) if self._comm is None else self._unless_broken(call)


def _sum(losses: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """Return the sums of losses and of what counts, in whatever order; NaN if a loss is not finite.

    They are rounded once.
    """
    values = [loss for _, loss, _ in losses]
    whole = math.fsum(values) if all(map(math.isfinite, values)) else math.nan
    return whole, math.fsum(count for *_, count in losses)
