"""fit: the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any

from rnncore._checks import boolean, generator, number, positive_int
from rnncore._types import Seed
from rnncore.module import Module
from rnncore.optim import Adam
from rnncore.training.alone import alone
from rnncore.training.baseline import Baseline
from rnncore.training.callbacks import (
    Callback,
    EarlyStopping,
    called_at_batches,
    check_callbacks,
)
from rnncore.training.checkpoints import Checkpoints, check_checkpoints
from rnncore.training.data_options import read_samples, read_validation
from rnncore.training.frozen import Frozen
from rnncore.training.history import History
from rnncore.training.metrics import Metrics, check_metrics
from rnncore.training.misspelt import refuse_unknown
from rnncore.training.progress import Progress
from rnncore.training.protocol import Optimizer, Samples, Trainable
from rnncore.training.ranks import Ordered, joined
from rnncore.training.recomputing import recomputing
from rnncore.training.same_start import same_start
from rnncore.training.scheduled import ScheduledLearningRate, ScheduledTeacherForcing
from rnncore.training.trainer import Options, Trainer


def fit(
    model: Trainable,
    x: Any,
    y: Any = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    lr_schedule: str | Callable[[float], float] = "constant",
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    step_weight: Any = None,
    washout: int = 0,
    missing: str = "raise",
    validation_data: Any = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    frozen: Any = (),
    metrics: Any = None,
    callbacks: Any = (),
    checkpoints: Checkpoints | str | PathLike[str] | None = None,
    resume: bool = False,
    teacher_forcing: float | Callable[[int], float] | None = None,
    recompute: int | None = None,
    shuffle: bool = True,
    bucket: bool = False,
    rng: Seed = None,
    progress: bool = True,
    comm: Any = None,
    reduction: str | Ordered = "sum",
    **unknown: Any,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : Model
        Trained in place.
    x : array_like, shape (N, T, input_size), or integer tokens (N, T) with an embedding
        Inputs; a list of N arrays (T_i, ...) is taken as well. `ManyToMany` also takes
        `rnncore.data.StatefulBatches`, series longer than memory, and most models
        `rnncore.data.Blocks`, samples larger than memory. These hold the targets too: then y is
        None, and of the options of data `class_weight`, `missing` and, for Blocks, `washout` alone
        are left.
    y : array_like, shape (N, output_size), or (N, T, output_size) for ManyToMany
        Targets; integer labels (N,) or (N, T) for "softmax_cross_entropy", where -100 is ignored.
    epochs : int
        Passes over the data.
    batch_size : int
        Sequences per step; the last batch of an epoch may be smaller. `StatefulBatches` have their
        own, and of `Blocks` it is at most buffer / 2.
    optimizer : Optimizer, optional
        Made for this model. By default that of the model's last `fit`, which goes on with what it
        gathered; in the first one ``Adam(model, 1e-3)``.
    lr_schedule : {"constant", "linear", "cosine"} or callable
        The learning rate's factor while training runs: from 1 down to 0 along a line or half a
        cosine, or any function of the share of all steps done, in [0, 1), to a number >= 0
        (`rnncore.schedules`). The optimizer's `lr` is what it was when `fit` returns.
    lengths : array_like of int, shape (N,), optional
        Valid steps of each sequence; steps beyond never count in the loss.
    mask : array_like of bool, shape (N,), or (N, T) for ManyToMany, optional
        True where the loss counts.
    resets : array_like of bool, shape (N, T), or list of N arrays (T_i,), optional
        Where the state in front of a step is the initial one, as if the sequence began there:
        zeros, or what the core learned. "last" pooling reads the end of the last piece; of the
        second direction, which runs backwards, that of the first one.
    sample_weight : array_like, shape (N,), optional
        How much each sequence counts, >= 0. What counts is the product of all weights; the mean
        loss, of a batch and of an epoch, is the sum of weighted losses over the sum of weights.
    class_weight : dict of int to float, or array_like, shape (output_size,), optional
        How much a label counts, >= 0; labels that the dict does not name count 1.
    step_weight : array_like, shape (T,) or (N, T), or list of N arrays (T_i,), optional
        Where there is an output for each step: how much each step counts, >= 0.
    washout : int
        Likewise: steps at the start of each sequence that do not count, while the state still
        knows nothing of it.
    missing : {"raise", "ignore"}
        What to do with targets that are NaN: an error, or leave them out of the loss, single
        numbers of a step too.
    validation_data : tuple (x, y), (x, y, lengths) or (x, y, lengths, mask), or dict, optional
        Or `StatefulBatches` or `Blocks`. Never trained on; its loss is measured after each epoch.
        The dict has these and the other options of data by their names; `washout` and `missing`
        hold for it unless it has its own.
    patience : int, optional
        Stop when the validation loss has not improved for this many epochs, and in any case
        end with the parameters of the best epoch: those from before the call, if no epoch is
        better.
    clip_norm, clip_value : float, optional
        Before each step, cut the gradient's numbers to at most clip_value, then scale it down to at
        most the norm clip_norm.
    accumulate : int
        Batches of which each step takes the gradient: as a batch so many times larger, in less
        memory.
    frozen : list of str, optional
        Parameters that stay as they are, by name or by the beginning of it: ``["embedding"]``.
    metrics : list or dict, optional
        What is measured after each epoch, on the validation data (without these on the training
        data), into ``History.metrics``: "accuracy", "mean_absolute_error" or functions of (y,
        target), the outputs (M, output_size) and targets of all that counts; in a dict by name.
    callbacks : list of Callback
        See `rnncore.training.Callback`.
    checkpoints : Checkpoints, str or path-like, optional
        Where to save the training at the end of each epoch, or as `Checkpoints` says.
    resume : bool
        Go on where the newest checkpoint was saved, with the same data and options; begin if there
        is none. The parameters are then, bit for bit, those of a training never interrupted.
    teacher_forcing : float or callable, optional
        For a model whose outputs feed back: the probability in [0, 1] with which a target feeds
        back in place of an output, or a function that gives it for each epoch, counted from 0
        (scheduled sampling; `rnncore.schedules`). None = the model's own `teacher_forcing`, which
        is what it was when `fit` returns.
    recompute : int, optional
        For long sequences, in `ManyToOne`, `ManyToMany` and `LanguageModel`: keep every
        recompute-th state alone for the gradient, and compute the rest again. Less memory, about
        the time of one more forward, the same bits; see `rnncore.LSTM.forward`. Not for a core
        with proj_size or output_size.
    shuffle : bool
        Draw a new order of the sequences for each epoch; never of `StatefulBatches`.
    bucket : bool
        Put sequences of like length into one batch: less padding to step over. Changes nothing for
        `StatefulBatches`.
    rng : int or numpy.random.Generator, optional
        For the order. The same rng, model and data give the same parameters bit for bit; to the
        model belongs the generator of its layers (``layer.rng``: dropout, scheduled sampling),
        which a file does not hold: set it in a model just loaded.
    progress : bool
        Show a progress bar (tqdm).
    comm : Communicator, optional
        The ranks that train this model together, each in a process that calls `fit` with the same
        arguments but for `callbacks`: ``MPI.COMM_WORLD`` of mpi4py. Each takes its part of every
        batch; `batch_size` is that of all together. See `rnncore.distributed`.
    reduction : {"sum", "ordered"} or rnncore.distributed.Ordered
        How the ranks' gradients become one: "ordered" gives the same bits at any number of ranks.

    Returns
    -------
    History
        Loss of every epoch, and more.

    Raises
    ------
    ValueError, TypeError, IndexError
        If an argument is not as described, a token or label is out of range, or a target that
        counts is NaN or infinite, or a rank has other data or arguments; the model is as it was.
    FloatingPointError
        If the loss becomes NaN or infinite. The message names the step; the parameters, and the
        optimizer's state but for its learning rate, are those of the best finished epoch, or as
        they were before.
    FileExistsError
        If the folder of `checkpoints` holds some already, without `resume`.
    CheckpointError
        If none of the checkpoints to go on from can be read.
    RuntimeError
        If another `fit` is training this model: one that called this one, or another thread's. If
        another rank failed; the message names it and says how.

    Notes
    -----
    The first `fit` of a model with a loss of values ("mean_squared_error", "mean_absolute_error",
    "huber") sets the head's bias to the mean of y where that is farther from 0 than y's standard
    deviation. A training of 10 epochs or more that ends worse than always answering the mean of y
    warns. Neither holds for `StatefulBatches` or `Blocks`, whose mean nobody knows.

    ``model.history`` is the History from the start on. Ctrl-C ends the training as a stop does
    (with `patience` the best parameters come back) and is raised again. Any other error leaves the
    model at its last step.
    """
    refuse_unknown(unknown, fit)
    if not (isinstance(model, Module) and isinstance(model, Trainable)):
        raise TypeError(f"model: expected a model such as ManyToOne, got {type(model).__name__}")
    data = {
        "resets": resets, "sample_weight": sample_weight, "class_weight": class_weight,
        "step_weight": step_weight, "washout": washout, "missing": missing,
    }  # fmt: skip
    with (
        joined(comm, reduction) as ranks,
        ScheduledTeacherForcing(model, teacher_forcing) as forcing,
    ):
        return fit_samples(
            model,
            read_samples(model, {"x": x, "y": y, "lengths": lengths, "mask": mask} | data),
            read_validation(model, validation_data, washout=washout, missing=missing),
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            lr_schedule=lr_schedule,
            patience=patience,
            clip_norm=clip_norm,
            clip_value=clip_value,
            accumulate=accumulate,
            frozen=frozen,
            metrics=metrics,
            callbacks=callbacks,
            checkpoints=checkpoints,
            resume=resume,
            forcing=forcing,
            recompute=recompute,
            shuffle=shuffle,
            bucket=bucket,
            rng=rng,
            progress=progress,
            comm=ranks,
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
    clip_value: float | None = None,
    accumulate: int = 1,
    frozen: Any = (),
    metrics: Any = None,
    callbacks: Any = (),
    checkpoints: Checkpoints | str | PathLike[str] | None = None,
    resume: bool = False,
    forcing: ScheduledTeacherForcing | None = None,
    recompute: int | None = None,
    shuffle: bool = True,
    bucket: bool = False,
    rng: Seed = None,
    progress: bool = True,
    comm: Any = None,
    reduction: str | Ordered = "sum",
    **unknown: Any,
) -> History:
    """Train a model on samples that are checked already; as `fit` otherwise."""
    refuse_unknown(unknown, fit_samples)
    if not isinstance(forcing, ScheduledTeacherForcing | None):
        raise TypeError(f"forcing: expected None for samples of this kind, got {forcing!r}")
    options = Options(
        positive_int("epochs", epochs),
        positive_int("batch_size", batch_size),
        None if clip_norm is None else _positive("clip_norm", clip_norm),
        None if clip_value is None else _positive("clip_value", clip_value),
        positive_int("accumulate", accumulate),
        boolean("shuffle", shuffle),
        boolean("bucket", bucket),
    )
    assert isinstance(model, Module)
    called = check_callbacks(callbacks)
    if patience is not None:
        called.append(EarlyStopping(patience))
        if validation is None:
            raise ValueError(f"patience: expected None without validation_data, got {patience}")
    if validation is None and any(isinstance(each, EarlyStopping) for each in called):
        raise ValueError("callbacks: expected validation_data with EarlyStopping, got None")
    measured = check_metrics(metrics, model)
    optimizer = _own_optimizer(model) if optimizer is None else _checked(optimizer, model)
    rate, progress = ScheduledLearningRate(optimizer, lr_schedule), boolean("progress", progress)
    source, still = generator(rng), Frozen(model, frozen)
    saving = check_checkpoints(checkpoints, resume=boolean("resume", resume))
    asked = asdict(options) | {
        "lr_schedule": lr_schedule, "frozen": [*frozen],
        "metrics": len(measured), "checkpoints": None if saving is None else saving.when,
        "patience": [each.patience for each in called if isinstance(each, EarlyStopping)],
    }  # fmt: skip
    with joined(comm, reduction) as ranks, alone(model), recomputing(model, recompute):
        same_start(ranks, model, optimizer, source, (train, validation), asked)
        with rate:
            trainer = Trainer(model, train, optimizer, rate, forcing, source, still, options, ranks)
            if saving is not None:
                saving.prepare(trainer, called, resume=resume)
                called.append(saving)  # the last of them
            baseline = Baseline(model, train)
            if ranks.from_first(model.history is None) and trainer.epoch == 0:
                baseline.start()
                trainer.kept.keep(0)
            model.optimizer, model.history = optimizer, trainer.history
            measures = Metrics(measured, train, validation, ranks)
            # every step begins with zero gradients, so they need no copy for an error
            with Progress(trainer, enabled=progress and ranks.first) as bar, model.zero_on_error():
                try:
                    _train(trainer, measures, called, bar)
                except KeyboardInterrupt:
                    _end(trainer, called)
                    raise
                _end(trainer, called)
                trainer.check_ranks()
        if ranks.first:
            baseline.warn(trainer.history)
    return trainer.history


def _train(
    trainer: Trainer, measures: Metrics, callbacks: Sequence[Callback], bar: Progress
) -> None:
    """Run all epochs, or until a callback stops it."""
    at_batches = [each for each in callbacks if called_at_batches(each)]
    meets = trainer.ranks.meet(flag=bool(at_batches)).flag  # where one rank calls some, all meet
    measures.before(trainer)
    trainer.call(callbacks, "on_fit_start")
    while not trainer.over:
        trainer.begin_epoch()
        for which in trainer.remaining():
            trainer.step(which)
            bar.step()
            if meets:
                trainer.call(at_batches, "on_batch_end")
            if trainer.stopped:
                trainer.check_finite(trainer.loss)
                return
        trainer.end_epoch(*measures.after(trainer))
        trainer.call(callbacks, "on_epoch_end")
        trainer.check_ranks()


def _end(trainer: Trainer, callbacks: Sequence[Callback]) -> None:
    trainer.tick()
    for callback in reversed(callbacks):  # checkpoints first: before the best comes back
        callback.on_fit_end(trainer)


def _positive(name: str, value: Any) -> float:
    result = number(name, value, "a positive number")
    if not 0 < result < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value!r}")
    return result


def _own_optimizer(model: Trainable) -> Optimizer:
    assert isinstance(model, Module)
    return Adam(model, 1e-3) if model.optimizer is None else model.optimizer


def _checked(optimizer: Any, model: Trainable) -> Optimizer:
    if hasattr(optimizer, "param_groups"):
        raise TypeError(
            f"optimizer: expected one of rnncore.optim, like Adam(model, 1e-3), got "
            f"{type(optimizer).__name__} of {type(optimizer).__module__}, which moves no array "
            "of this model"
        )
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: expected one like Adam(model), got {optimizer!r}")
    if getattr(optimizer, "module", model) is not model:
        raise ValueError("optimizer: expected one made for this model, got one of another")
    checked: Optimizer = optimizer
    return checked
