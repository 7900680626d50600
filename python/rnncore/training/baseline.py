"""Baseline: the mean of the targets, from which training starts and below which it should end."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rnncore._checks import users_level
from rnncore.training.history import History
from rnncore.training.protocol import Samples

_LEAST_EPOCHS = 10  # of a training that is expected to have got somewhere


class Baseline:
    """What always answering the mean of the targets costs.

    Parameters
    ----------
    model : Model
    train : Samples
    """

    def __init__(self, model: Any, train: Samples) -> None:
        moments = getattr(train, "moments", None)
        found = None if moments is None else moments()
        self._moments: Any = found
        squares = getattr(model, "loss", None) == "mean_squared_error"
        self._loss = float(found[1].mean()) if found is not None and squares else None

    def start(self, model: Any) -> None:
        """Let a model that was never trained answer the mean, where zero is far from the data."""
        if self._moments is None or not hasattr(model, "start_at"):
            return
        mean, variance = self._moments
        far = mean**2 > variance  # data that were standardised stay as they are
        if far.any():
            model.start_at(np.where(far, mean, 0))

    def warn(self, history: History) -> None:
        """Say so if training ended worse than that."""
        if not self._loss or len(history.loss) < _LEAST_EPOCHS:  # 0: y is constant
            return
        if history.loss[-1] > 1.1 * self._loss:
            warnings.warn(
                f"loss: the training ended at {history.loss[-1]:.4g}, worse than always answering "
                f"the mean of y, {self._loss:.4g}; scale x and y (rnncore.data.Standardizer), or "
                "try another learning rate or more epochs",
                stacklevel=users_level(),
            )
