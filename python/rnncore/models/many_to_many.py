"""ManyToMany, aligned: one output per step."""

from __future__ import annotations

from typing import Any

from rnncore._arrays import Array
from rnncore.models.core import CoreModel, ModelTape


class ManyToMany(CoreModel):
    """One output per step, from the last layer's hidden state at that step: ``y_t = head(h_t)``.

    Steps beyond a sequence's length give zero and never count in the loss.

    Parameters
    ----------
    core, output_size, loss, embedding, rng
        As for `ManyToOne`, errors included; output_size is that of every step.
    """

    per_step = True

    def _features(self, h: Array, state: Any, valid: Array | None) -> tuple[Array, Any]:
        return h, None

    def _core_backward(
        self, tape: ModelTape, dfeatures: Array, input_gradient: bool
    ) -> Array | None:
        dx: Array | None
        dx, _ = self.core.backward(tape.core, dfeatures, input_gradient=input_gradient)
        return dx
