"""What is measured of a model: its loss, and metrics that nothing is trained for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from rnncore._checks import number
from rnncore._types import Array
from rnncore.training.batches import batches_of
from rnncore.training.protocol import Samples, Trainable
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
        self, functions: Mapping[str, Metric], train: Samples, validation: Samples | None
    ) -> None:
        self._functions, self._validation = functions, validation
        self._samples = train if validation is None else validation

    def before(self, trainer: Trainer) -> None:
        """Note the validation loss before the first step."""
        if self._validation is not None and trainer.history.validation_loss_before is None:
            loss = evaluate(trainer.model, self._validation, trainer.options.batch_size)
            trainer.history.validation_loss_before = loss if math.isfinite(loss) else math.inf

    def after(self, trainer: Trainer) -> tuple[float | None, dict[str, float]]:
        """Return the validation loss, and all metrics."""
        size = trainer.options.batch_size
        if not self._functions:
            if self._validation is None:
                return None, {}
            return evaluate(trainer.model, self._validation, size), {}
        loss, values = self._measured(trainer.model, size)
        return (None if self._validation is None else loss), values

    def _measured(self, model: Any, size: int) -> tuple[float, dict[str, float]]:
        samples, total, count = self._samples, 0.0, 0.0
        outputs, targets = [], []
        for which in batches_of(samples, size):
            batch = samples.take(which)
            loss, y, target = model.batch_evaluation(batch)
            total += loss * batch.count
            count += batch.count
            outputs.append(y)
            targets.append(target)
        mean = mean_loss(total, count)
        y, target = np.concatenate(outputs), np.concatenate(targets)
        values = {
            name: number(f"metrics[{name!r}]", function(y, target), "a function that gives numbers")
            for name, function in self._functions.items()
        }
        return mean, values


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
    total = count = 0.0
    for which in batches_of(samples, batch_size):
        batch = samples.take(which)
        total += model.batch_loss(batch) * batch.count
        count += batch.count
    return mean_loss(total, count)
