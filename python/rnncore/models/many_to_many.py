"""ManyToMany, aligned: one output per step."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._arrays import Array, Seed, closed_fraction, refuse
from rnncore._batch import valid_steps
from rnncore.batches import Samples
from rnncore.dense import Embedding
from rnncore.layers import GRU, LSTM, RNN
from rnncore.models.core import CoreModel, ModelTape


class ManyToMany(CoreModel):
    """One output per step, from the last layer's hidden state at that step: ``y_t = head(h_t)``.

    Steps beyond a sequence's length give zero and never count in the loss. A core with outputs of
    its own (output_size) needs no head; where these feed back, `fit` gives it the targets in their
    place, and `predict` runs in closed loop unless it gets targets.

    Parameters
    ----------
    core, output_size, loss, embedding, rng
        As for `ManyToOne`, errors included; output_size is that of every step, and the core's own
        where it has one. Such a core's outputs are values: loss is "mean_squared_error".
    teacher_forcing : float
        For a core whose outputs feed back: probability in [0, 1] with which a target and not the
        output feeds back in training. `fit` takes a schedule for it.
    """

    per_step = True

    def __init__(
        self,
        core: RNN | LSTM | GRU,
        output_size: int,
        *,
        loss: str = "mean_squared_error",
        embedding: Embedding | None = None,
        teacher_forcing: float = 1.0,
        rng: Seed = None,
    ) -> None:
        self.teacher_forcing = closed_fraction("teacher_forcing", teacher_forcing)
        super().__init__(core, output_size, loss=loss, embedding=embedding, rng=rng)

    @property
    def feeds_back(self) -> bool:
        """Whether the core's outputs feed back."""
        return self.core.recurrence != ("hidden",)

    def training_samples(self, x: Any, y: Any, lengths: Any = None, mask: Any = None) -> Samples:
        """Check training data; targets that feed back must be finite where they don't count too."""
        checked = super().training_samples(x, y, lengths, mask)
        if self.feeds_back and self.teacher_forcing > 0:
            valid = valid_steps(checked.x.shape[1], checked.lengths)
            wrong = ~np.isfinite(checked.y)
            if valid is not None:
                wrong &= valid[..., None]
            refuse("y", checked.y, wrong, "finite numbers, since they feed back")
        return checked

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {"teacher_forcing": (self.teacher_forcing, 1.0)}

    def _feedback(self, batch: Samples) -> dict[str, Any]:
        if not self.feeds_back or self.teacher_forcing == 0:
            return {}
        return {"targets": batch.y, "teacher_forcing": self.teacher_forcing}

    def _features(self, h: Array, state: Any, valid: Array | None) -> tuple[Array, Any]:
        return h, None

    def _core_backward(
        self, tape: ModelTape, dfeatures: Array, input_gradient: bool
    ) -> Array | None:
        dx: Array | None
        dx, _ = self.core.backward(tape.core, dfeatures, input_gradient=input_gradient)
        return dx
