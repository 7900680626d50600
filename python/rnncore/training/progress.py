"""The progress bar of a training."""

from __future__ import annotations

from typing import Any

from rnncore.training.history import History


class Progress:
    """One tqdm bar for the whole training, in a terminal or a notebook; or nothing."""

    def __init__(self, epochs: int, steps: int, *, enabled: bool) -> None:
        self._epochs = epochs
        self._bar: Any = None
        if enabled:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=steps, unit="batch", dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, epoch: int, loss: float, history: History) -> None:
        """Move by one batch; only where the bar is enabled."""
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        losses = {"loss": f"{loss:.4g}"}
        if history.validation_loss:
            losses["validation"] = f"{history.validation_loss[-1]:.4g}"
        self._bar.set_postfix(losses, refresh=False)
        self._bar.update()
