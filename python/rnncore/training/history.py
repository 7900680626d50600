"""History: what a training saw."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


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
