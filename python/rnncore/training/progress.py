"""The progress bar of a training."""

from __future__ import annotations

import warnings
from typing import Any

from rnncore.training.trainer import Trainer


def _bar() -> Any:
    """Return tqdm for a notebook or a terminal; without ipywidgets the text one, unasked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # said once, at the first import
        from tqdm.auto import tqdm
    return tqdm


class Progress:
    """One tqdm bar for the whole training, in a terminal or a notebook; or nothing."""

    def __init__(self, trainer: Trainer, *, enabled: bool) -> None:
        self._trainer = trainer
        self._bar: Any = None
        if enabled:
            tqdm = _bar()
            total = trainer.options.epochs * trainer.batches
            done = max(trainer.epoch - (trainer.batch > 0), 0) * trainer.batches + trainer.batch
            self._bar = tqdm(total=total, initial=done, unit="batch", dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self) -> None:
        """Move by one batch."""
        if self._bar is None:
            return
        trainer, history = self._trainer, self._trainer.history
        self._bar.set_description(f"epoch {trainer.epoch}/{trainer.options.epochs}", refresh=False)
        shown = {"loss": trainer.loss}
        if history.validation_loss:
            shown["validation"] = history.validation_loss[-1]
        shown |= {name: values[-1] for name, values in history.metrics.items()}
        texts = {name: f"{value:.4g}" for name, value in shown.items()}
        self._bar.set_postfix(texts, refresh=False)
        self._bar.update()
