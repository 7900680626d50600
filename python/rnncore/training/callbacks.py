"""Callbacks: what `fit` calls while it trains, and those that most trainings need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rnncore._checks import integer, not_negative, number, positive_int
from rnncore._fixed import Fixed
from rnncore.training.trainer import Trainer


class Callback:
    """What `fit(callbacks=[...])` takes: methods that it calls, each with the running `Trainer`.

    Define those that you need. A callback may look at everything, use the model, back-propagate
    with it too, set ``trainer.lr`` and end the training with ``trainer.stop(reason)``; what it
    writes into the parameters the next step finds there. `fit` of the same model is an error, and
    `forward` draws dropout's masks from the layers' generators, as training does. What a callback
    raises ends `fit`; the model is then as after its last step.

    Of several ranks (``fit(comm=...)``) each calls its own, and a rank may have none:
    `stop` on one stops all, what one raises ends all, and all must set the same `lr`. Print where
    ``trainer.ranks.first`` alone.

    A callback with memory of its own has `state_dict` and `load_state_dict`, of plain data and
    arrays: then a resumed training goes on with it.
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step; a resumed training is where it goes on."""

    def on_batch_end(self, trainer: Trainer) -> None:
        """After each batch."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After each epoch and its measures; ``trainer.improved`` says whether it is best."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """At the end, also after a stop or Ctrl-C; not after another error."""


class EarlyStopping(Fixed, Callback):
    """Stop when the validation loss has not improved for some epochs, and go back to the best.

    What ``fit(patience=)`` stands for; like it, it needs validation data.

    Parameters
    ----------
    patience : int
        Epochs without a loss lower than the best.
    """

    def __init__(self, patience: int) -> None:
        self.patience = positive_int("patience", patience)

    def on_fit_start(self, trainer: Trainer) -> None:
        """Stop at once if a resumed training was over."""
        if trainer.batch == 0 and trainer.epoch > 0:
            self.on_epoch_end(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Stop if the best epoch is long ago."""
        if trainer.epoch - trainer.history.best_epoch >= self.patience:
            trainer.stop(f"no lower loss for {self.patience} epochs")

    def on_fit_end(self, trainer: Trainer) -> None:
        """Bring back the best parameters, and the optimizer's state with them."""
        trainer.kept.restore()


class ReduceOnPlateau(Fixed, Callback):
    """Multiply the learning rate by `factor` when no epoch has improved for some.

    As Keras' ``ReduceLROnPlateau``, on the loss that decides which epoch is best.

    Parameters
    ----------
    factor : float
        In (0, 1).
    patience : int
        Epochs without improvement, counted anew after each reduction.
    least : float
        Never below this rate.
    """

    def __init__(self, factor: float = 0.5, patience: int = 5, *, least: float = 0.0) -> None:
        self.factor = number("factor", factor, "a number in (0, 1)")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor: expected a number in (0, 1), got {factor!r}")
        self.patience = positive_int("patience", patience)
        self.least = not_negative("least", least, "a number >= 0")
        self._since = 0  # the epoch from which patience counts

    def on_fit_start(self, trainer: Trainer) -> None:
        """Count from here; a resumed training goes on counting."""
        if trainer.epoch == 0:
            self._since = 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Reduce the rate if it is time."""
        self._since = max(self._since, trainer.history.best_epoch)
        if trainer.epoch - self._since >= self.patience:
            trainer.lr = max(trainer.lr * self.factor, min(self.least, trainer.lr))
            self._since = trainer.epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch from which patience counts."""
        return {"since": self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it over."""
        self._since = integer("since", state["since"], 0, 2**53)


def check_callbacks(callbacks: Any) -> list[Any]:
    """Return a list of callbacks; TypeError for anything else."""
    if isinstance(callbacks, Callback):
        return [callbacks]
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, (str, Mapping, np.ndarray)):
        raise TypeError(f"callbacks: expected a list of callbacks, got {callbacks!r}")
    found = list(callbacks)
    for callback in found:
        if isinstance(callback, type) or not isinstance(callback, Callback):
            raise TypeError(
                "callbacks: expected objects of classes derived from rnncore.training.Callback, "
                f"got {callback!r}"
            )
    return found


def called_at_batches(callback: Callback) -> bool:
    """Whether `on_batch_end` of a callback has something to do."""
    return type(callback).on_batch_end is not Callback.on_batch_end or "on_batch_end" in vars(
        callback
    )
