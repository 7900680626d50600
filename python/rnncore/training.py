"""fit: the training loop, and History: what it saw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from rnncore._checks import boolean, generator, number, positive_int
from rnncore._rates import Forcing, Rate, Schedule
from rnncore._types import Array, Seed
from rnncore.models.base import Batch, Model, TrainingSamples
from rnncore.optim import Adam, clip_grad_norm


class Optimizer(Protocol):
    """What `fit` asks of an optimizer."""

    def step(self) -> None:
        """Update the model's parameters by its gradients."""


@dataclass
class History:
    """What a call of `fit` did.

    Attributes
    ----------
    loss : list of float
        Mean training loss of each epoch, taken while the parameters were moving.
    validation_loss : list of float
        Loss on the validation data after each epoch; empty without such data.
    best_epoch : int
        Epoch, counted from 1, of the lowest validation loss (training loss without validation
        data); 0 before the first epoch's end.
    steps : int
        Optimizer steps.
    seconds : float
        Wall-clock time.
    stopped_early : bool
        Whether `patience` ended the training.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    stopped_early: bool = False

    @property
    def watched(self) -> list[float]:
        """The losses that decide which epoch is best."""
        return self.validation_loss or self.loss

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a dict of plain Python values."""
        return asdict(self)

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no finished epoch)"
        text = f"History({len(self.loss)} epochs, {self.steps} steps, {self.seconds:.1f} s"
        text += ", stopped early" * self.stopped_early + f": loss {self.loss[-1]:.4g}"
        if self.validation_loss:
            text += f", validation loss {self.validation_loss[-1]:.4g}"
        return text + f"; best {min(self.watched):.4g} in epoch {self.best_epoch})"


def fit(
    model: Model,
    x: Any,
    y: Any,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    schedule: str | Schedule = "constant",
    lengths: Any = None,
    mask: Any = None,
    validation_data: tuple[Any, ...] | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    teacher_forcing: float | Callable[[int], float] | None = None,
    shuffle: bool = True,
    rng: Seed = None,
    progress: bool = True,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : Model
        Trained in place.
    x : array_like, shape (N, T, input_size), or integer tokens (N, T) with an embedding
        Inputs; a list of N arrays (T_i, ...) is taken as well.
    y : array_like, shape (N, output_size), or (N, T, output_size) for ManyToMany
        Targets; integer labels (N,) or (N, T) for "softmax_cross_entropy", where -100 is ignored.
    epochs : int
        Passes over the data.
    batch_size : int
        Sequences per step; the last batch of an epoch may be smaller.
    optimizer : Optimizer, optional
        Made for this model; ``Adam(model, 1e-3)`` by default.
    schedule : {"constant", "linear", "cosine"} or callable
        The learning rate's factor while training runs: from 1 down to 0 along a line or half a
        cosine, or any function of the share of all steps done, in [0, 1), to a number >= 0. The
        optimizer's `lr` is what it was when `fit` returns.
    lengths : array_like of int, shape (N,), optional
        Valid steps of each sequence; steps beyond never count in the loss.
    mask : array_like of bool, shape (N,), or (N, T) for ManyToMany, optional
        True where the loss counts.
    validation_data : tuple (x, y), (x, y, lengths) or (x, y, lengths, mask), optional
        Never trained on; its loss is measured after each epoch.
    patience : int, optional
        Stop when the validation loss has not improved for this many epochs, and in any case
        end with the parameters of the best epoch.
    clip_norm : float, optional
        Scale the gradient down to at most this norm before each step.
    teacher_forcing : float or callable, optional
        For a model whose outputs feed back: the probability in [0, 1] with which a target feeds
        back in place of an output, or a function that gives it for each epoch, counted from 0
        (scheduled sampling; `rnncore.schedules`). None = the model's own `teacher_forcing`, which
        is what it was when `fit` returns.
    shuffle : bool
        Draw a new order of the sequences for each epoch.
    rng : int or numpy.random.Generator, optional
        For the order. The same rng, model and data give the same parameters bit for bit; to the
        model belongs the generator of its layers (`layer.rng`: dropout, scheduled sampling), which
        a file does not hold: set it in a model just loaded.
    progress : bool
        Show a progress bar (tqdm).

    Returns
    -------
    History
        Loss of every epoch, and more.

    Raises
    ------
    ValueError, TypeError, IndexError
        If an argument is not as described, a token or label is out of range, or a target that
        counts is NaN or infinite; the model is as it was.
    FloatingPointError
        If the loss becomes NaN or infinite. The message names the step; the parameters are
        those of the best finished epoch, or as they were before.

    Notes
    -----
    Whatever else interrupts the loop (Ctrl-C, an error) leaves the model at its last step.
    """
    if not isinstance(model, Model):
        raise TypeError(f"model: expected a model such as ManyToOne, got {type(model).__name__}")
    with Forcing(model, teacher_forcing) as forcing:
        return fit_samples(
            model,
            model.training_samples(x, y, lengths, mask),
            _validation(model, validation_data),
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            schedule=schedule,
            patience=patience,
            clip_norm=clip_norm,
            forcing=forcing,
            shuffle=shuffle,
            rng=rng,
            progress=progress,
        )


def fit_samples(
    model: Model,
    train: TrainingSamples,
    validation: TrainingSamples | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    schedule: str | Schedule = "constant",
    patience: int | None = None,
    clip_norm: float | None = None,
    forcing: Forcing | None = None,
    shuffle: bool = True,
    rng: Seed = None,
    progress: bool = True,
) -> History:
    """Train a model on samples that are checked already; as `fit` otherwise."""
    epochs, batch_size = positive_int("epochs", epochs), positive_int("batch_size", batch_size)
    if patience is not None:
        patience = positive_int("patience", patience)
        if validation is None:
            raise ValueError(f"patience: expected None without validation_data, got {patience}")
    if clip_norm is not None:
        clip_norm = _positive("clip_norm", clip_norm)
    optimizer = Adam(model, 1e-3) if optimizer is None else _checked(optimizer, model)
    rate = Rate(optimizer, schedule)
    shuffle, progress = boolean("shuffle", shuffle), boolean("progress", progress)
    order_rng = generator(rng)

    batches = math.ceil(len(train) / batch_size)
    history, start = History(), time.perf_counter()
    best = model.flat_parameters.copy()
    with rate, _Progress(epochs, batches, enabled=progress) as bar:
        for epoch in range(1, epochs + 1):
            if forcing is not None:
                forcing.set(epoch - 1)
            order = order_rng.permutation(len(train)) if shuffle else np.arange(len(train))
            total = 0.0
            for batch in _batches(train, order, batch_size):
                model.zero_grad()
                loss = model.batch_gradient(batch)
                if not math.isfinite(loss):
                    model.flat_parameters[...] = best
                    raise FloatingPointError(_not_finite(loss, history.steps + 1, history, epoch))
                if clip_norm is not None:
                    clip_grad_norm(model, clip_norm)
                rate.set(history.steps / (epochs * batches))
                optimizer.step()
                history.steps += 1
                total += loss * batch.count
                bar.step(epoch, loss, history)
            history.loss.append(total / train.count)
            if validation is not None:
                history.validation_loss.append(evaluate(model, validation, batch_size))
            history.seconds = time.perf_counter() - start
            *earlier, watched = history.watched
            if not (math.isfinite(watched) and np.isfinite(model.flat_parameters).all()):
                model.flat_parameters[...] = best
                raise FloatingPointError(_not_finite(watched, history.steps, history, epoch))
            if watched < min(earlier, default=math.inf):
                history.best_epoch = epoch
                best[...] = model.flat_parameters
            elif patience is not None and epoch - history.best_epoch >= patience:
                history.stopped_early = True
                break
    if patience is not None:
        model.flat_parameters[...] = best
    return history


def _not_finite(loss: float, step: int, history: History, epoch: int) -> str:
    kept = f"of epoch {history.best_epoch}" if history.best_epoch else "from before the call"
    return (
        f"loss: expected finite numbers, got {loss} in step {step} (epoch {epoch}); "
        f"the parameters are those {kept}. A lower learning rate or clip_norm may help; "
        "NaN or infinity in x or y never trains"
    )


def evaluate(model: Model, data: TrainingSamples, batch_size: int = 256) -> float:
    """Return the mean loss over all that counts in `data`, without training.

    Parameters
    ----------
    model : Model
        Used in inference mode.
    data : TrainingSamples
        From the model's `training_samples`.
    batch_size : int
        Sequences at a time.

    Returns
    -------
    float
        NaN or infinite where an output is.
    """
    total = 0.0
    for batch in _batches(data, np.arange(len(data)), batch_size):
        total += model.batch_loss(batch) * batch.count
    return total / data.count


def _batches(data: TrainingSamples, order: Array, batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(order), batch_size):
        yield data.take(order[start : start + batch_size])


def _validation(model: Model, data: tuple[Any, ...] | None) -> TrainingSamples | None:
    if data is None:
        return None
    if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 4:
        count = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
        raise ValueError(
            "validation_data: expected (x, y), (x, y, lengths) or (x, y, lengths, mask), "
            f"got {type(data).__name__}{count}"
        )
    try:
        return model.training_samples(*data)
    except (ValueError, TypeError, IndexError) as error:
        raise type(error)(f"validation_data: {error}") from error


def _positive(name: str, value: Any) -> float:
    result = number(name, value, "a positive number")
    if not 0 < result < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value!r}")
    return result


def _checked(optimizer: Any, model: Model) -> Optimizer:
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: expected one like Adam(model), got {optimizer!r}")
    if getattr(optimizer, "module", model) is not model:
        raise ValueError("optimizer: expected one made for this model, got one of another")
    checked: Optimizer = optimizer
    return checked


class _Progress:
    """One tqdm bar for the whole training, in a terminal or a notebook; or nothing."""

    def __init__(self, epochs: int, batches: int, *, enabled: bool) -> None:
        self._epochs = epochs
        self._bar: Any = None
        if enabled:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=epochs * batches, unit="batch", dynamic_ncols=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, epoch: int, loss: float, history: History) -> None:
        """Move by one batch."""
        if self._bar is None:
            return
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        losses = {"loss": f"{loss:.4g}"}
        if history.validation_loss:
            losses["validation"] = f"{history.validation_loss[-1]:.4g}"
        self._bar.set_postfix(losses, refresh=False)
        self._bar.update()
