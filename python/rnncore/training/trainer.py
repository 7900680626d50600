"""Trainer: a training that goes on, as its loop moves it, callbacks see it and files keep it."""

from __future__ import annotations

import copy
import math
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._random import restore
from rnncore.module import Module
from rnncore.optim import clip_grad_norm
from rnncore.state import flatten, unflatten
from rnncore.training.batches import batches_of, samples_per_batch
from rnncore.training.frozen import Frozen
from rnncore.training.gradients import StepGradient
from rnncore.training.history import History
from rnncore.training.kept import Kept
from rnncore.training.protocol import Optimizer, Samples, Trainable
from rnncore.training.ranks import Ranks
from rnncore.training.scheduled import ScheduledLearningRate, ScheduledTeacherForcing
from rnncore.training.stored import check_history, check_place


@dataclass(frozen=True)
class Options:
    """What `fit` was asked for, checked."""

    epochs: int
    batch_size: int
    clip_norm: float | None
    clip_value: float | None
    accumulate: int
    shuffle: bool
    bucket: bool


def mean_loss(total: float, count: float) -> float:
    """Return a loss over all that counts; ValueError if nothing does, in all chunks of a stream."""
    if not count > 0:
        raise ValueError("y: expected something that counts in the loss, got nothing")
    return total / count


class Trainer:
    """A training that goes on.

    Attributes
    ----------
    model : Model
        Being trained; a callback may look at it and predict with it.
    optimizer : Optimizer
    history : History
        What happened so far.
    options : Options
        epochs, batch_size and the like, as `fit` got them.
    epoch : int
        The epoch that runs or ended last, counted from 1; 0 before the first.
    batch : int
        Batches of this epoch that are done; 0 between two epochs.
    batches : int
        Batches of an epoch.
    loss : float
        Of the last batch.
    stopped : str or None
        Why the training is to end before all epochs are done; `stop` says so.
    ranks : Ranks
        Those that train together: ``ranks.rank`` is which this is, 0 of ``ranks.size`` = 1 without
        `comm`, and ``ranks.first`` says whether it is the one to print and to write.
    """

    def __init__(
        self,
        model: Trainable,
        train: Samples,
        optimizer: Optimizer,
        rate: ScheduledLearningRate,
        forcing: ScheduledTeacherForcing | None,
        rng: np.random.Generator,
        frozen: Frozen,
        options: Options,
        ranks: Ranks,
    ) -> None:
        assert isinstance(model, Module)
        self.model: Any = model
        self.optimizer, self.options, self.history = optimizer, options, History()
        self.epoch, self.batch, self.loss = 0, 0, math.nan
        self._batch_size = samples_per_batch(train, options.batch_size)
        self.batches = -(-len(train) // self._batch_size)
        self.stopped: str | None = None
        self.kept = Kept(model, optimizer)
        self.ranks = ranks
        self._train, self._rate, self._forcing = train, rate, forcing
        self._rng, self._frozen = rng, frozen
        self._gradient = StepGradient(model, train, ranks, several=options.accumulate > 1)
        self._order: Sequence[Any] = ()
        self._order_state: Any = None  # of the generator before this epoch's order was drawn
        self._total = 0.0  # loss of this epoch's batches, times what counts in them
        self._counted = 0.0  # and what counts in them
        self._in_step = False  # Ctrl-C may end one in its middle
        self._start = time.perf_counter()
        per_epoch = -(-self.batches // options.accumulate)
        self._steps = options.epochs * per_epoch

    @property
    def lr(self) -> float:
        """The learning rate, without the schedule's factor; a callback may set it."""
        return self._rate.base

    @lr.setter
    def lr(self, value: float) -> None:
        self._rate.base = value

    @property
    def improved(self) -> bool:
        """Whether the epoch that ended last is the best so far."""
        return self.epoch > 0 and self.history.best_epoch == self.epoch

    @property
    def between_steps(self) -> bool:
        """Whether a training can go on from here: a step is done, and no gradient waits for one.

        Not after an error of several ranks, which know nothing of each other any more.
        """
        return not (self._in_step or self._gradient.batches or self.ranks.ended)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.stopped is not None or (self.batch == 0 and self.epoch >= self.options.epochs)

    def tick(self) -> None:
        """Bring the history's clock up to date."""
        self.history.seconds = time.perf_counter() - self._start

    def stop(self, reason: str) -> None:
        """End the training after this batch, or this epoch; the history keeps the reason."""
        self.stopped = self.history.stopped = reason

    def call(self, callbacks: Sequence[Any], name: str) -> None:
        """Call a method of callbacks: where one stops or raises on any rank, it does on all."""
        if self.ranks.alone:
            for callback in callbacks:
                getattr(callback, name)(self)
            return
        error: BaseException | None = None
        try:
            for callback in callbacks:
                getattr(callback, name)(self)
        except BaseException as raised:
            error = raised
        if self.ranks.meet(error=error, flag=self.stopped is not None).flag:
            reasons = self.ranks.gather(self.stopped)
            self.stop(next(each for each in reasons if each is not None))

    def begin_epoch(self) -> None:
        """Go to the next epoch, and draw its order; in the middle of one, do nothing."""
        if self.batch > 0:
            return
        self.epoch += 1
        self._total = self._counted = 0.0
        self._order_state = self._rng.bit_generator.state
        self._draw()

    def _draw(self) -> None:
        options = self.options
        source = self._rng if options.shuffle else None
        self._order = batches_of(self._train, options.batch_size, source, bucket=options.bucket)
        if self._forcing is not None:
            self._forcing.set(self.epoch - 1)

    def remaining(self) -> Iterator[Any]:
        """Yield what `Samples.take` takes for the batches of this epoch that are left."""
        while self.batch < self.batches:
            yield self._order[self.batch]

    def step(self, which: Any) -> None:
        """Train on a batch; FloatingPointError if its loss is NaN or infinite."""
        completes = self._gradient.batches + 1 >= self.options.accumulate
        completes |= self.batch + 1 >= self.batches
        if self._rate.moves and completes:
            self._rate.set(self.history.steps / self._steps)  # a user's function may raise
        self._in_step = self.ranks.plain  # else Ctrl-C is heard where nothing has changed yet
        self.loss, count = self._gradient.add(which)
        self._in_step = True
        history, loss = self.history, self.loss
        if not math.isfinite(loss):
            raise FloatingPointError(self._not_finite(loss, history.steps + 1))
        if history.loss_before is None:
            history.loss_before = loss
        self._total += loss * count
        self._counted += count
        self.batch += 1
        if completes:
            self._take_step()
        self._in_step = False

    def _take_step(self) -> None:
        model = self.model
        self._gradient.finish()
        self._frozen.clear_gradients()
        if self.options.clip_value is not None:
            limit = self.options.clip_value
            np.clip(model.flat_grads, -limit, limit, out=model.flat_grads)
        if self.options.clip_norm is not None:
            clip_grad_norm(model, self.options.clip_norm)
        try:
            self.optimizer.step()
        finally:
            self._frozen.put_back()
        self.history.steps += 1

    def end_epoch(self, validation_loss: float | None, metrics: Mapping[str, float]) -> None:
        """Note the epoch in the history, and keep its parameters if they are the best.

        FloatingPointError if its loss or a parameter is not finite.
        """
        history, self.batch = self.history, 0
        history.loss.append(mean_loss(self._total, self._counted))
        if validation_loss is not None:
            history.validation_loss.append(validation_loss)
        for name, value in metrics.items():
            history.metrics.setdefault(name, []).append(value)
        self.tick()
        *earlier, watched = history.watched
        self.check_finite(watched)
        before = history.validation_loss_before
        best = min(earlier, default=math.inf)
        if watched < (best if before is None else min(best, before)):
            history.best_epoch = self.epoch
        if watched < min(best, math.inf if history.before is None else history.before):
            self.kept.keep(self.epoch)

    def check_ranks(self) -> None:
        """Raise RuntimeError on all ranks unless all have the same parameters and rate."""
        if self.ranks.size == 1:
            return
        found = self.ranks.gather(
            {"rate": self.lr, "parameters": zlib.crc32(self.model.flat_parameters)}
        )
        for name in found[0]:
            for rank, each in enumerate(found):
                if each[name] != found[0][name]:
                    raise RuntimeError(
                        f"comm: expected the {name} of rank 0 on all ranks after epoch "
                        f"{self.epoch}, got other ones on rank {rank}; what a callback sets or "
                        "writes, it must on all ranks"
                    )

    def check_finite(self, loss: float) -> None:
        """Raise FloatingPointError, and go back, if a loss or a parameter is not finite."""
        if not (math.isfinite(loss) and np.isfinite(self.model.flat_parameters).all()):
            raise FloatingPointError(self._not_finite(loss, self.history.steps))

    def _not_finite(self, loss: float, step: int) -> str:
        self.kept.restore()
        epoch = self.kept.epoch
        kept = f"of epoch {epoch}" if epoch else "from before the call"
        what = f"loss: expected finite numbers, got {loss}"
        if math.isfinite(loss):
            what = "parameters: expected finite numbers, got NaN or infinity"
        return (
            f"{what} in step {step} (epoch {self.epoch}); "
            f"the parameters are those {kept}, the optimizer's state too. A lower learning rate "
            "or clip_norm may help; NaN or infinity in x or y never trains"
        )

    def state(self) -> dict[str, Any]:
        """Return all that a later run needs to go on from here, bit for bit.

        Besides model and optimizer, which are kept beside it. Plain data and arrays. Of several
        ranks all must call it.
        """
        assert self.between_steps
        self.tick()
        return {
            "epoch": self.epoch, "batch": self.batch, "total": self._total,
            "counted": self._counted,
            "lr": self.lr, "lr_before": self._rate.before, "loss": self.loss,
            "history": self.history.to_dict(), "kept": self.kept.state(),
            "order": self._order_state, "rng": self._rng.bit_generator.state,
            "layers": [source.bit_generator.state for source in self.model.generators()],
            "carried": flatten(self._gradient.carried()),
            "data": self._data(),
        }  # fmt: skip

    def _data(self) -> dict[str, Any]:
        return {
            "sequences": len(self._train),
            "outputs": float(self._train.count),
            "batch_size": self._batch_size,
            "accumulate": self.options.accumulate,
            **getattr(self._train, "layout", {}),
        }

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise ValueError, TypeError or KeyError for a state of other data or batches, or none."""
        for name, value in self._data().items():
            if state["data"][name] != value:
                raise ValueError(
                    f"resume: expected {name} = {state['data'][name]:g} as in the checkpoint, "
                    f"got {value:g}"
                )
        check_place(state, self.batches)
        check_history(state["history"])
        self.kept.check_state(state["kept"])
        if len(state["layers"]) != len([*self.model.generators()]):
            raise ValueError("layers: expected the state of each layer's generator")
        pairs = [*zip(self._generators(), [state["rng"], *state["layers"]], strict=True)]
        if state["batch"] > 0:
            pairs.append((self._rng, state["order"]))
        for source, own in pairs:
            restore(copy.deepcopy(source), own)
        if not isinstance(state["carried"], Mapping):
            raise TypeError(f"carried: expected arrays by name, got {state['carried']!r}")

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""
        self.epoch, self.batch = state["epoch"], state["batch"]
        self._total, self._counted = state["total"], state["counted"]
        self.lr, self._rate.before, self.loss = state["lr"], state["lr_before"], state["loss"]
        self.history.load_dict(state["history"])
        self.history.stopped = None
        self._start = time.perf_counter() - self.history.seconds
        self.kept.restore_state(state["kept"])
        if self.batch > 0:
            restore(self._rng, state["order"])
            self._order_state = state["order"]
            self._draw()
        for source, own in zip(self._generators(), [state["rng"], *state["layers"]], strict=True):
            restore(source, own)
        self._gradient.carry(unflatten(state["carried"]))

    def _generators(self) -> list[np.random.Generator]:
        return [self._rng, *self.model.generators()]
