"""The progress bar of a training."""

from __future__ import annotations

from typing import Any

from rnncore.training.run import Run


class Progress:
    """One tqdm bar for the whole training, in a terminal or a notebook; or nothing."""

    def __init__(self, run: Run, *, enabled: bool) -> None:
        self._run = run
        self._bar: Any = None
        if enabled:
            from tqdm.auto import tqdm

            total = run.options.epochs * run.batches
            done = max(run.epoch - (run.batch > 0), 0) * run.batches + run.batch
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
        run, history = self._run, self._run.history
        self._bar.set_description(f"epoch {run.epoch}/{run.options.epochs}", refresh=False)
        shown = {"loss": run.loss}
        if history.validation_loss:
            shown["validation"] = history.validation_loss[-1]
        shown |= {name: values[-1] for name, values in history.metrics.items()}
        texts = {name: f"{value:.4g}" for name, value in shown.items()}
        self._bar.set_postfix(texts, refresh=False)
        self._bar.update()
