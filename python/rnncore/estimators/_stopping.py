"""Stopping: when the training of an estimator ends, by the rules of scikit-learn's MLPs."""

from __future__ import annotations

import math
from typing import Any

from rnncore.training import Callback, Trainer
from rnncore.training.kept import Kept


class Stopping(Callback):
    """Stop when neither score nor loss gets better, and bring back what scored best.

    With a metric "score" of a validation part that has to rise by `tol`, otherwise the training
    loss to fall by it, in one of `patience` epochs in a row.

    Attributes
    ----------
    scores : list of float
        Of the validation part, after each epoch.
    best_score : float or None
        The highest; of equal ones that with the lowest validation loss.
    """

    def __init__(self, patience: int, tol: float) -> None:
        self.patience, self.tol = patience, tol
        self.scores: list[float] = []
        self.best_score: float | None = None
        self._best = (-math.inf, -math.inf)
        self._kept: Any = None
        self._waited = 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Look at the epoch, and stop if there was enough of them for nothing."""
        history = trainer.history
        if "score" in history.metrics:
            found = history.metrics["score"][-1], -history.validation_loss[-1]
            self.scores.append(found[0])
        else:
            found = -history.loss[-1], 0.0
        self._waited = self._waited + 1 if found[0] < self._best[0] + self.tol else 0
        if found > self._best:
            self._best = found
            if self.scores:
                self.best_score = found[0]
                self._keep(trainer)
        if self._waited > self.patience:
            what = "validation score higher" if self.scores else "training loss lower"
            trainer.stop(f"no {what} by {self.tol:g} for {self.patience} epochs")

    def _keep(self, trainer: Trainer) -> None:
        if self._kept is None:
            self._kept = Kept(trainer.model, trainer.optimizer)
        self._kept.keep(trainer.epoch)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Bring back the best parameters of the validation part."""
        if self._kept is not None:
            self._kept.restore()
