"""Baseline: the mean of the targets, from which training starts and below which it should end."""

from __future__ import annotations

import warnings
from functools import cached_property
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
        self._model, self._train = model, train

    @cached_property
    def _moments(self) -> Any:
        """Mean and variance (O,) of the targets, or None: a pass over all of them."""
        moments = getattr(self._train, "moments", None)
        return None if moments is None else moments()

    def start(self) -> None:
        """Let a model that was never trained answer the mean, where zero is far from the data."""
        if not hasattr(self._model, "start_at") or self._moments is None:
            return
        mean, variance = self._moments
        far = mean**2 > variance  # data that were standardised stay as they are
        if far.any():
            self._model.start_at(np.where(far, mean, 0))

    def warn(self, history: History) -> None:
        """Say so if training ended worse than that."""
        squares = getattr(self._model, "loss", None) == "mean_squared_error"
        if not squares or len(history.loss) < _LEAST_EPOCHS or self._moments is None:
            return
        mean_loss = float(self._moments[1].mean())
        if history.loss[-1] > 1.1 * mean_loss > 0:  # 0: y is constant
            warnings.warn(
                f"loss: the training ended at {history.loss[-1]:.4g}, worse than always answering "
                f"the mean of y, {mean_loss:.4g}; scale x and y (rnncore.data.Standardizer), or "
                "try another learning rate or more epochs",
                stacklevel=users_level(),
            )
