"""What is measured of a model: its loss, and metrics that nothing is trained for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from rnncore._checks import number
from rnncore._types import Array
from rnncore.training.batches import batches_of
from rnncore.training.gradients import streams_of
from rnncore.training.protocol import Samples, Trainable
from rnncore.training.ranks import Ranks, joined
from rnncore.training.trainer import Trainer, mean_loss

Metric = Callable[[Array, Array], float]


def accuracy(y: Array, target: Array) -> float:
    """Share of right answers: the greatest of scores (M, C) for labels (M,), else y > 0 for 0, 1.

    Parameters
    ----------
    y : numpy.ndarray, shape (M, O)
        Scores of classes, or logits of independent yes and no.
    target : numpy.ndarray, shape (M,) of int, or (M, O)
        Labels, or 0 and 1.
    """
    if target.ndim < y.ndim:
        return float(np.mean(y.argmax(axis=-1) == target))
    return float(np.mean((y > 0) == (target > 0.5)))


def mean_absolute_error(y: Array, target: Array) -> float:
    """Mean of abs(y - target); both (M, O)."""
    return float(np.mean(np.abs(y.astype(np.float64) - target)))


def mean_squared_error(y: Array, target: Array) -> float:
    """Mean of (y - target)^2; both (M, O)."""
    return float(np.mean((y.astype(np.float64) - target) ** 2))


_NAMED: dict[str, Metric] = {
    "accuracy": accuracy,
    "mean_absolute_error": mean_absolute_error,
    "mean_squared_error": mean_squared_error,
}


def check_metrics(metrics: Any, model: Any) -> dict[str, Metric]:
    """Return metrics as functions by name; TypeError or ValueError for anything else."""
    if metrics is None:
        return {}
    if isinstance(metrics, (str, bytes, np.ndarray)) or not isinstance(metrics, Iterable):
        raise TypeError(f"metrics: expected a list or a dict, got {metrics!r}")
    if not hasattr(model, "batch_evaluation"):
        raise TypeError(f"metrics: expected None for a {type(model).__name__}, which has none")
    if not isinstance(metrics, Mapping):
        metrics = {_name(metric): metric for metric in metrics}
    found = {}
    for name, metric in metrics.items():
        function = _NAMED.get(metric) if isinstance(metric, str) else metric
        if not callable(function):
            known = ", ".join(map(repr, _NAMED))
            raise ValueError(f"metrics: expected {known} or a function, got {metric!r}")
        found[str(name)] = function
    return found


def _name(metric: Any) -> str:
    return metric if isinstance(metric, str) else getattr(metric, "__name__", repr(metric))


class Metrics:
    """What is measured before a training and after each epoch.

    Parameters
    ----------
    functions : mapping of str to callable
        From outputs (M, O) and targets of all that counts to a number.
    train, validation : Samples
        Metrics are taken on the validation data, without these on the training data.
    """

    def __init__(
        self,
        functions: Mapping[str, Metric],
        train: Samples,
        validation: Samples | None,
        ranks: Ranks,
    ) -> None:
        self._functions, self._validation, self._ranks = functions, validation, ranks
        self._samples = train if validation is None else validation

    def before(self, trainer: Trainer) -> None:
        """Note the validation loss before the first step."""
        if self._validation is not None and trainer.history.validation_loss_before is None:
            loss = self._loss(trainer.model, trainer.options.batch_size)
            trainer.history.validation_loss_before = loss if math.isfinite(loss) else math.inf

    def after(self, trainer: Trainer) -> tuple[float | None, dict[str, float]]:
        """Return the validation loss, and all metrics."""
        size = trainer.options.batch_size
        if not self._functions:
            if self._validation is None:
                return None, {}
            return self._loss(trainer.model, size), {}
        loss, values = self._measured(trainer.model, size)
        return (None if self._validation is None else loss), values

    def _loss(self, model: Any, size: int) -> float:
        assert self._validation is not None
        return _mean(_over_batches(model.batch_loss, self._validation, size, self._ranks))

    def _measured(self, model: Any, size: int) -> tuple[float, dict[str, float]]:
        found = _over_batches(model.batch_evaluation, self._samples, size, self._ranks)
        mean = _mean([(loss, count) for (loss, _, _), count in found])
        y, target = (np.concatenate([each[i] for each, _ in found]) for i in (1, 2))
        values = {
            name: number(f"metrics[{name!r}]", function(y, target), "a function that gives numbers")
            for name, function in self._functions.items()
        }
        return mean, values


def _over_batches(
    function: Callable[[Any], Any], samples: Samples, size: int, ranks: Ranks
) -> list[tuple[Any, float]]:
    """Return what a function says of each batch, and what counts in it, on every rank.

    Ranks take whole batches in turn, so that what is found does not depend on how many there are;
    of a stream each takes its shards of every chunk.
    """
    found = []
    with ranks.together():
        streams = streams_of(samples, ranks)
        which = batches_of(samples, size)
        for i in range(len(which)):
            if streams is None and i % ranks.size != ranks.rank:
                continue
            for shard, each in enumerate([samples] if streams is None else streams):
                batch = each.take(which[i])
                found.append(((i, ranks.rank, shard), function(batch), batch.count))
    every = [each for some in ranks.gather(found) for each in some]
    return [(value, count) for _, value, count in sorted(every, key=lambda each: each[0])]


def _mean(losses: Iterable[tuple[float, float]]) -> float:
    total = whole = 0.0
    for loss, count in losses:
        total += loss * count
        whole += count
    return mean_loss(total, whole)


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
    with joined(None, "sum") as alone:
        return _mean(_over_batches(model.batch_loss, samples, batch_size, alone))
