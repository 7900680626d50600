"""fit: the training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from rnncore._checks import boolean, generator, number, positive_int
from rnncore._types import Array, Seed
from rnncore.module import Module
from rnncore.optim import Adam, clip_grad_norm
from rnncore.training.history import History
from rnncore.training.progress import Progress
from rnncore.training.protocol import Batch, Optimizer, Samples, Trainable
from rnncore.training.scheduled import ScheduledLearningRate, ScheduledTeacherForcing


def fit(
    model: Trainable,
    x: Any,
    y: Any,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    lr_schedule: str | Callable[[float], float] = "constant",
    lengths: Any = None,
    mask: Any = None,
    validation_data: tuple[Any, ...] | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    teacher_forcing: float | Callable[[int], float] | None = None,
    shuffle: bool = True,
    rng: Seed = None,
    progress: bool = True,
    **unknown: Any,
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
    lr_schedule : {"constant", "linear", "cosine"} or callable
        The learning rate's factor while training runs: from 1 down to 0 along a line or half a
        cosine, or any function of the share of all steps done, in [0, 1), to a number >= 0
        (`rnncore.schedules`). The optimizer's `lr` is what it was when `fit` returns.
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
    _refuse_unknown(unknown)
    if not (isinstance(model, Module) and isinstance(model, Trainable)):
        raise TypeError(f"model: expected a model such as ManyToOne, got {type(model).__name__}")
    with ScheduledTeacherForcing(model, teacher_forcing) as forcing:
        return fit_samples(
            model,
            model.training_samples(x, y, lengths, mask),
            _validation(model, validation_data),
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            lr_schedule=lr_schedule,
            patience=patience,
            clip_norm=clip_norm,
            forcing=forcing,
            shuffle=shuffle,
            rng=rng,
            progress=progress,
        )


def fit_samples(
    model: Trainable,
    train: Samples,
    validation: Samples | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    lr_schedule: str | Callable[[float], float] = "constant",
    patience: int | None = None,
    clip_norm: float | None = None,
    forcing: ScheduledTeacherForcing | None = None,
    shuffle: bool = True,
    rng: Seed = None,
    progress: bool = True,
    **unknown: Any,
) -> History:
    """Train a model on samples that are checked already; as `fit` otherwise."""
    _refuse_unknown(unknown)
    epochs, batch_size = positive_int("epochs", epochs), positive_int("batch_size", batch_size)
    if patience is not None:
        patience = positive_int("patience", patience)
        if validation is None:
            raise ValueError(f"patience: expected None without validation_data, got {patience}")
    if clip_norm is not None:
        clip_norm = _positive("clip_norm", clip_norm)
    assert isinstance(model, Module)
    optimizer = Adam(model, 1e-3) if optimizer is None else _checked(optimizer, model)
    rate = ScheduledLearningRate(optimizer, lr_schedule)
    shuffle, progress, source = (
        boolean("shuffle", shuffle),
        boolean("progress", progress),
        generator(rng),
    )

    steps = epochs * math.ceil(len(train) / batch_size)
    history, start = History(), time.perf_counter()
    best = model.flat_parameters.copy()
    # every step begins with zero gradients, so they need no copy for an error
    with rate, Progress(epochs, steps, enabled=progress) as bar, model.zero_on_error():
        for epoch in range(1, epochs + 1):
            if forcing is not None:
                forcing.set(epoch - 1)
            total = 0.0
            for batch in _batches(train, batch_size, source if shuffle else None):
                model.zero_grad()
                loss = model.batch_gradient(batch)
                if not math.isfinite(loss):
                    model.flat_parameters[...] = best
                    raise FloatingPointError(_not_finite(loss, history.steps + 1, history, epoch))
                if clip_norm is not None:
                    clip_grad_norm(model, clip_norm)
                if rate.moves:
                    rate.set(history.steps / steps)
                optimizer.step()
                history.steps += 1
                total += loss * batch.count
                if progress:
                    bar.step(epoch, loss, history)
            history.loss.append(total / train.count)
            if validation is not None:
                history.validation_loss.append(evaluate(model, validation, batch_size))
            history.seconds = time.perf_counter() - start
            if _ends(model, history, epoch, best, patience):
                break
    if patience is not None:
        model.flat_parameters[...] = best
    return history


def _ends(
    model: Trainable, history: History, epoch: int, best: Array, patience: int | None
) -> bool:
    """Note an epoch in the history, keep its parameters if they are the best; True: no more.

    FloatingPointError if its loss or a parameter is not finite.
    """
    *earlier, watched = history.watched
    if not (math.isfinite(watched) and np.isfinite(model.flat_parameters).all()):
        model.flat_parameters[...] = best
        raise FloatingPointError(_not_finite(watched, history.steps, history, epoch))
    if watched < min(earlier, default=math.inf):
        history.best_epoch = epoch
        best[...] = model.flat_parameters
    elif patience is not None and epoch - history.best_epoch >= patience:
        history.stopped_early = True
    return history.stopped_early


def _not_finite(loss: float, step: int, history: History, epoch: int) -> str:
    kept = f"of epoch {history.best_epoch}" if history.best_epoch else "from before the call"
    return (
        f"loss: expected finite numbers, got {loss} in step {step} (epoch {epoch}); "
        f"the parameters are those {kept}. A lower learning rate or clip_norm may help; "
        "NaN or infinity in x or y never trains"
    )


def evaluate(model: Trainable, samples: Samples, batch_size: int = 256) -> float:
    """Return the mean loss over all that counts, without training.

    Parameters
    ----------
    model : Model
        Used in inference mode.
    samples : Samples
        From the model's `training_samples`.
    batch_size : int
        Sequences at a time.

    Returns
    -------
    float
        NaN or infinite where an output is.
    """
    total = 0.0
    for batch in _batches(samples, batch_size, None):
        total += model.batch_loss(batch) * batch.count
    return total / samples.count


def _batches(
    samples: Samples, batch_size: int, shuffle: np.random.Generator | None
) -> Iterator[Batch]:
    """Yield all samples once: in their order, which needs no copies, or in a new one."""
    starts = range(0, len(samples), batch_size)
    if shuffle is None:
        for start in starts:
            yield samples.take(slice(start, start + batch_size))
        return
    order = shuffle.permutation(len(samples))
    for start in starts:
        yield samples.take(order[start : start + batch_size])


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that there is not, as Python would; say what was renamed."""
    for name in options:
        if name == "schedule":
            raise TypeError("schedule: was renamed lr_schedule; see rnncore.schedules")
        raise TypeError(f"fit() got an unexpected keyword argument {name!r}")


def _validation(model: Trainable, data: tuple[Any, ...] | None) -> Samples | None:
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


def _checked(optimizer: Any, model: Trainable) -> Optimizer:
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: expected one like Adam(model), got {optimizer!r}")
    if getattr(optimizer, "module", model) is not model:
        raise ValueError("optimizer: expected one made for this model, got one of another")
    checked: Optimizer = optimizer
    return checked
