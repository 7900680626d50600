"""ManyToMany, aligned: one output per step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import closed_fraction, integer, refuse
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths, Seed
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.models.samples.label_sequences import LabelSequenceSamples
from rnncore.models.samples.sequences import SequenceSamples
from rnncore.models.sequence_model import ModelTape, SequenceModel


class LoopLosses(NamedTuple):
    """Mean losses where targets feed back and where outputs do.

    Attributes
    ----------
    open_loop : float
        The targets of the steps before feed back: one step ahead.
    closed_loop : float
        The outputs do.
    """

    open_loop: float
    closed_loop: float


class ManyToMany(SequenceModel, loadable=True):
    """One output per step, from the last layer's hidden state at that step: ``y_t = head(h_t)``.

    With the loss "ctc" the labels of a sequence are at no given steps: y is a list of label arrays,
    one of the outputs is the blank, and ``losses.ctc_decode(model.predict(x))`` reads labels.

    Steps beyond a sequence's length give zero and never count in the loss. A core with outputs of
    its own (output_size) needs no head; where these feed back, `fit` gives it the targets in their
    place, and `predict` runs in closed loop unless it gets targets.

    Parameters
    ----------
    core, output_size, loss, embedding, rng
        As for `ManyToOne`, errors included; output_size is that of every step, and the core's own
        where it has one. Such a core's outputs are values, for the loss "mean_squared_error", or
        probabilities of a softmax, for "negative_log_likelihood": labels feed back as 1 of a class.
    teacher_forcing : float
        For a core whose outputs feed back: probability in [0, 1] with which a target and not the
        output feeds back in training. `fit` takes a schedule for it.
    """

    per_step = True

    def __init__(
        self,
        core: Recurrent[Any],
        output_size: int,
        *,
        loss: Any = "mean_squared_error",
        embedding: Embedding | None = None,
        teacher_forcing: float = 1.0,
        rng: Seed = None,
    ) -> None:
        self._teacher_forcing = closed_fraction("teacher_forcing", teacher_forcing)
        super().__init__(core, output_size, loss=loss, embedding=embedding, rng=rng)

    @property
    def feeds_back(self) -> bool:
        """Whether the core's outputs feed back."""
        return self.core.spec.feeds_back

    def training_samples(
        self, x: Any, y: Any, lengths: Any = None, mask: Any = None
    ) -> SequenceSamples | LabelSequenceSamples:
        """Check training data; targets that feed back must be finite where they don't count too."""
        checked = super().training_samples(x, y, lengths, mask)
        if self.feeds_back and self.teacher_forcing > 0:
            assert isinstance(checked, SequenceSamples)  # no other loss goes with such a core
            self._check_targets(checked)
        return checked

    def _check_targets(self, samples: SequenceSamples) -> None:
        if samples.y.dtype.kind != "f":
            return
        wrong = ~np.isfinite(samples.y)
        valid = valid_steps(samples.x.shape[1], samples.lengths)
        if valid is not None:
            wrong &= valid[..., None]
        refuse("y", samples.y, wrong, "finite numbers, since they feed back")

    def loop_losses(
        self,
        x: Any,
        y: Any,
        *,
        known: int = 0,
        lengths: Any = None,
        mask: Any = None,
        batch_size: int = 256,
    ) -> LoopLosses:
        """Measure open and closed loop side by side; for a core whose outputs feed back.

        Parameters
        ----------
        x, y, lengths, mask
            As for `fit`; y feeds back in open loop.
        known : int
            Steps at each sequence's start whose targets feed back in closed loop too.
        batch_size : int
            Sequences at a time.

        Returns
        -------
        LoopLosses
            Mean losses over the steps behind the known ones.

        Raises
        ------
        TypeError, ValueError
            If no output feeds back, `known` is no integer in [0, T), or an argument does not fit.
        """
        if not self.feeds_back:
            raise ValueError(
                "loop_losses: expected a core whose outputs feed back, got one without"
            )
        samples = super().training_samples(x, y, lengths, mask)
        assert isinstance(samples, SequenceSamples)  # no other loss goes with such a core
        self._check_targets(samples)
        N, T = samples.x.shape[:2]
        steps = integer("known", known, 0, T - 1)
        first = np.broadcast_to(np.arange(T) < steps, (N, T))
        counted = ~first & (True if samples.counted is None else samples.counted)
        ends = T if samples.lengths is None else samples.lengths[:, None]
        if not (counted & (np.arange(T) < ends)).any():
            raise ValueError(f"known: expected steps behind the known ones to count, got {known}")
        losses = []
        for from_targets in (np.ones_like(first), first):
            outputs = self.predict(
                samples.x, lengths=samples.lengths, batch_size=batch_size,
                targets=self._fed(samples.y), teacher_forcing=from_targets,
            )  # fmt: skip
            losses.append(self.loss_and_gradient(outputs, samples.y, counted)[0])
        return LoopLosses(*losses)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {"teacher_forcing": (self.teacher_forcing, 1.0)}

    def _feedback(self, batch: SequenceSamples) -> dict[str, Any]:
        if not self.feeds_back or self.teacher_forcing == 0:
            return {}
        return {"targets": self._fed(batch.y), "teacher_forcing": self.teacher_forcing}

    def _fed(self, y: Array) -> Array:
        """Return what targets feed back: values, or 1 for a label's class; 0 where ignored."""
        if self.objective.kind != "labels":
            return y
        fed: Array = (y[..., None] == np.arange(self.output_size)).astype(self.dtype)
        return fed

    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        return h, None

    def _core_backward(
        self, tape: ModelTape, dfeatures: Array, input_gradient: bool
    ) -> Array | None:
        return self.core.run_backward(tape.layers, dfeatures, input_gradient=input_gradient)[0]
