"""History: what a training saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import zip_longest
from typing import Any

from rnncore._html import folded, paragraph, table
from rnncore.training.stored import check_history

_LONG = 12  # epochs, above which a notebook shows the best and the last ones alone


@dataclass
class History:
    """What a call of `fit` did.

    Attributes
    ----------
    loss : list of float
        Mean training loss of each epoch, taken while the parameters were moving.
    validation_loss : list of float
        Loss on the validation data after each epoch; empty without such data.
    metrics : dict of str to list of float
        Each metric after each epoch, on the validation data; on the training data without these.
    loss_before : float or None
        Training loss of the first batch, before any step.
    validation_loss_before : float or None
        Loss on the validation data before the first step; None without such data.
    best_epoch : int
        Epoch, counted from 1, of the lowest validation loss (training loss without validation
        data); 0 where no epoch's validation loss is below that before the first step.
    steps : int
        Optimizer steps.
    seconds : float
        Wall-clock time, that of earlier runs which a resumed one goes on from included.
    stopped : str or None
        Why the training ended before all epochs were done.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    loss_before: float | None = None
    validation_loss_before: float | None = None
    best_epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def watched(self) -> list[float]:
        """The losses that decide which epoch is best."""
        return self.validation_loss or self.loss

    @property
    def before(self) -> float | None:
        """Their like before the first step, of the first batch alone without validation data."""
        if self.validation_loss_before is not None:
            return self.validation_loss_before
        return self.loss_before

    @property
    def stopped_early(self) -> bool:
        """Whether the training ended before all epochs were done."""
        return self.stopped is not None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a dict of plain Python values."""
        return asdict(self)

    def load_dict(self, values: Mapping[str, Any]) -> None:
        """Take over what `to_dict` returned; on an error nothing changes."""
        check_history(values)
        vars(self).update({each.name: values[each.name] for each in fields(self)})

    def per_epoch(self) -> dict[str, list[Any]]:
        """Return what there is of each epoch, as columns: ``pandas.DataFrame(h.per_epoch())``."""
        columns: dict[str, list[Any]] = {
            "epoch": [*range(1, len(self.loss) + 1)],
            "loss": self.loss,
        }
        if self.validation_loss:
            columns["validation_loss"] = self.validation_loss
        return {name: [*values] for name, values in (columns | self.metrics).items()}

    def _repr_html_(self) -> str:
        """Return a table of the epochs for notebooks; a long one is folded, but for two rows."""
        columns = self.per_epoch()
        rows = [
            (epoch, *(f"{value:.4g}" for value in values))
            for epoch, *values in zip_longest(*columns.values(), fillvalue=math.nan)
        ]
        text = paragraph(repr(self))
        if len(rows) <= _LONG:
            return text + table([*columns], rows) if rows else text
        chosen = sorted({self.best_epoch, len(rows)} - {0})
        few = table([*columns], [rows[epoch - 1] for epoch in chosen])
        return text + few + folded(f"all {len(rows)} epochs", table([*columns], rows))

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no finished epoch)"
        text = f"History({len(self.loss)} epochs, {self.steps} steps, {self.seconds:.1f} s"
        text += ", stopped early" * self.stopped_early + f": loss {self.loss[-1]:.4g}"
        if self.validation_loss:
            text += f", validation loss {self.validation_loss[-1]:.4g}"
        for name, values in self.metrics.items():
            text += f", {name} {values[-1]:.4g}"
        best, epoch = min(self.watched), self.best_epoch
        if epoch == 0 and self.before is not None:
            return text + f"; best {self.before:.4g} before the first step)"
        return text + f"; best {best:.4g} in epoch {epoch})"
