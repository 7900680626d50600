"""Trainer: a training that goes on, as its loop moves it, callbacks see it and files keep it."""

from __future__ import annotations

import copy
import math
import time
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
from rnncore.training.history import History
from rnncore.training.kept import Kept
from rnncore.training.protocol import Batch, Optimizer, Samples, Trainable
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
    ) -> None:
        assert isinstance(model, Module)
        self.model: Any = model
        self.optimizer, self.options, self.history = optimizer, options, History()
        self.epoch, self.batch, self.loss = 0, 0, math.nan
        self._batch_size = samples_per_batch(train, options.batch_size)
        self.batches = -(-len(train) // self._batch_size)
        self.stopped: str | None = None
        self.kept = Kept(model, optimizer)
        self._train, self._rate, self._forcing = train, rate, forcing
        self._rng, self._frozen = rng, frozen
        self._order: Sequence[Any] = ()
        self._order_state: Any = None  # of the generator before this epoch's order was drawn
        self._total = 0.0  # loss of this epoch's batches, times what counts in them
        self._counted = 0.0  # and what counts in them
        self._in_step = False  # Ctrl-C may end one in its middle
        self._waiting = 0  # batches whose gradients wait for a step
        self._weight = 0.0  # and what counts in them
        self._gradient = np.zeros_like(model.flat_grads) if options.accumulate > 1 else None
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
        """Whether a step is done and no gradient waits for one: a training can go on from here."""
        return not self._in_step and self._waiting == 0

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

    def remaining(self) -> Iterator[Batch]:
        """Yield the batches of this epoch that are left."""
        while self.batch < self.batches:
            yield self._train.take(self._order[self.batch])

    def step(self, batch: Batch) -> None:
        """Train on a batch; FloatingPointError if its loss is NaN or infinite."""
        self._in_step = True
        self._take_step(batch)
        self._in_step = False

    def _take_step(self, batch: Batch) -> None:
        model, history = self.model, self.history
        if self._rate.moves and self._completes_step():
            self._rate.set(history.steps / self._steps)  # a user's function: before the gradient
        model.zero_grad()
        self.loss = loss = model.batch_gradient(batch)
        if not math.isfinite(loss):
            raise FloatingPointError(self._not_finite(loss, history.steps + 1))
        if history.loss_before is None:
            history.loss_before = loss
        count = batch.count
        self._total += loss * count
        self._counted += count
        self.batch += 1
        if self._gradient is not None and not self._gathered(count):
            return
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
        history.steps += 1

    def _completes_step(self) -> bool:
        """Whether the gradient of the batch to come is the last that a step waits for."""
        return self._waiting + 1 >= self.options.accumulate or self.batch + 1 >= self.batches

    def _gathered(self, count: float) -> bool:
        """Add the gradients of a batch to those that wait; True: `grads` holds the mean of all."""
        assert self._gradient is not None
        self._gradient += self.model.flat_grads * self._gradient.dtype.type(count)
        self._waiting += 1
        self._weight += count
        if self._waiting < self.options.accumulate and self.batch < self.batches:
            return False
        if self._weight > 0:
            np.divide(self._gradient, self._weight, out=self.model.flat_grads)
        self._gradient.fill(0)
        self._waiting, self._weight = 0, 0.0
        return True

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

        Besides model and optimizer, which are kept beside it. Plain data and arrays.
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
            "carried": {name: np.array(array) for name, array in self._carried().items()},
            "data": self._data(),
        }  # fmt: skip

    def _data(self) -> dict[str, Any]:
        return {
            "sequences": len(self._train),
            "outputs": float(self._train.count),
            "batch_size": self._batch_size,
            "accumulate": self.options.accumulate,
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
        if state["carried"]:
            samples: Any = self._train
            samples.state = unflatten(state["carried"])

    def _generators(self) -> list[np.random.Generator]:
        return [self._rng, *self.model.generators()]

    def _carried(self) -> dict[str, Any]:
        """Return the state that goes on from batch to batch: of a stream, nothing of others."""
        return flatten(getattr(self._train, "state", None))
