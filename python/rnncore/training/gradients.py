"""StepGradient: the gradient of an optimizer step, of one batch or several, by one rank or many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.state import join_rows, some_rows
from rnncore.training.draws import Draws
from rnncore.training.protocol import Samples
from rnncore.training.ranks import Ranks, Shard, shards_of


class StepGradient:
    """Gradients of batches, gathered for a step.

    A batch is cut into the shards of `Ranks`; each rank computes its own. A step's gradient is that
    of the mean over all that counts in all shards of all its batches.

    Parameters
    ----------
    model : Trainable
    samples : Samples
        Of all ranks.
    ranks : Ranks
    several : bool
        Whether a step takes several batches.

    Attributes
    ----------
    batches : int
        Whose gradients wait for a step.
    """

    def __init__(self, model: Any, samples: Samples, ranks: Ranks, *, several: bool) -> None:
        self._model: Any = model
        self._ranks = ranks
        self._samples = samples
        self.batches, self._count = 0, 0.0
        kept = several or len(ranks.shards) > 1  # else one gradient waits in `flat_grads`
        grads = model.flat_grads
        self._sums = [np.zeros_like(grads) for _ in ranks.shards] if kept else None
        self._own = 0.0  # what counts in the gradient that waits in `flat_grads`
        self._sent = None if ranks.plain else np.empty_like(grads)
        self._streams = streams_of(samples, ranks)

    def add(self, which: Any) -> tuple[float, float]:
        """Compute the gradient of a batch; return its mean loss and what counts in it.

        Raises what goes wrong on any rank, on all of them. KeyboardInterrupt leaves all as it was.
        """
        if self._sent is not None:
            return self._add_with_others(which)
        model, batch = self._model, self._samples.take(which)
        model.zero_grad()
        loss, count = model.batch_gradient(batch), batch.count
        if self._sums is not None:
            self._keep(0, count)
        self.batches += 1
        self._count += count
        return loss, count

    def _add_with_others(self, which: Any) -> tuple[float, float]:
        streams = self._streams or ()
        draws, states = Draws(self._model.generators()), [stream.state for stream in streams]
        error, losses = None, []
        try:
            losses = self._add_shards(which, draws)
        except BaseException as raised:
            error = raised
        try:
            total, count, drew = self._ranks.meet(
                losses, error, flag=draws.drew, interruptible=True
            )
        except KeyboardInterrupt:
            for stream, state in zip(streams, states, strict=True):
                stream.state = state
            raise
        if drew:
            draws.move_on()
        self.batches += 1
        self._count += count
        return (total / count if count else total), count

    def _add_shards(self, which: Any, draws: Draws) -> list[tuple[int, float, float]]:
        """Compute this rank's shards; return of each the loss times what counts, and the latter."""
        losses, model = [], self._model
        for i, (shard, batch) in enumerate(self._shards(which)):
            count = 0.0 if batch is None else batch.count
            model.zero_grad()
            if batch is not None:
                with draws.of_shard(shard.number):
                    losses.append((shard.number, model.batch_gradient(batch) * count, count))
            self._keep(i, count)
        return losses

    def _shards(self, which: Any) -> Iterator[tuple[Shard, Any]]:
        """Yield this rank's shards of a batch, each with its samples; None where it has none."""
        shards = self._ranks.shards
        if self._streams is not None:
            for shard, stream in zip(shards, self._streams, strict=True):
                yield shard, stream.take(which)
            return
        for shard, own in zip(shards, shards_of(which, self._samples, shards), strict=True):
            empty = own.start >= own.stop if isinstance(own, slice) else len(own) == 0
            yield shard, None if empty else self._samples.take(own)

    def _keep(self, i: int, count: float) -> None:
        """Add the gradient that lies in `flat_grads` to what waits for the step."""
        grads = self._model.flat_grads
        if self._sums is None:
            self._own = count
        elif self.batches == 0:
            np.multiply(grads, grads.dtype.type(count), out=self._sums[i])
        else:
            self._sums[i] += grads * grads.dtype.type(count)

    def finish(self) -> None:
        """Write the gradient of all that waits into the model's `grads`."""
        grads, weight, sums = self._model.flat_grads, self._count, self._sums
        if self._sent is not None:
            with np.errstate(all="ignore"):  # an error here would come to this rank alone
                self._add_up(grads, weight, self._sent)
        elif sums is not None and weight > 0:
            np.divide(sums[0], weight, out=grads)
        self.batches, self._count = 0, 0.0

    def _add_up(self, grads: Array, weight: float, sent: Array) -> None:
        """Write the mean over all that counts, on all ranks, into `grads`."""
        real, sums = grads.dtype.type, self._sums
        if sums is None:
            sums = [np.multiply(grads, real(self._own), out=sent)]
        for each in sums:  # with the same roundings, however many parts a rank has
            each *= real(1 / weight if weight > 0 else 0)
        self._ranks.add_up(sums, out=grads)

    def carried(self) -> Any:
        """Return the state that goes on from batch to batch: of a stream, None of others."""
        if self._streams is None:
            return None
        states = self._ranks.gather([stream.state for stream in self._streams])
        return join_rows([state for some in states for state in some])

    def carry(self, state: Any) -> None:
        """Go on from what `carried` returned, perhaps on other ranks."""
        if self._streams is not None and state is not None:
            for stream, shard in zip(self._streams, self._ranks.shards, strict=True):
                stream.state = some_rows(state, shard.rows)


def streams_of(samples: Any, ranks: Ranks) -> list[Any] | None:
    """Return a stream for each of this rank's shards; None for samples that have no order."""
    if not getattr(samples, "ordered", False):
        return None
    return [samples] if ranks.plain else [samples.shard(shard) for shard in ranks.shards]
