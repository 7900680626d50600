"""StopAt: a training that stops in the middle."""

from __future__ import annotations

from rnncore.training import Callback, Trainer


class StopAt(Callback):
    """Stops after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_batch_end(self, trainer: Trainer) -> None:
        self.left -= 1
        if self.left == 0:
            trainer.stop("enough")
