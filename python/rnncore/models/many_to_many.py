"""ManyToMany, aligned: one output per step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import closed_fraction, integer, positive_int
from rnncore._stateful_batches import StatefulBatches
from rnncore._types import Array, Lengths, Seed
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.losses import CTC
from rnncore.models.samples.numeric_streams import NumericStream
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.sequences import SequenceBatch, SequenceSamples
from rnncore.models.sequence_model import SequenceModel


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

    def stateful_samples(
        self, batches: StatefulBatches, *, class_weight: Any = None, missing: str = "raise"
    ) -> NumericStream:
        """Return a long series, read in chunks, as training samples.

        Parameters
        ----------
        batches : rnncore.data.StatefulBatches
            Its first chunk is read and checked now, every chunk again when its turn comes. In some
            chunks it may be that nothing counts: their gradient is zero.
        class_weight, missing
            As `fit` takes them.

        Raises
        ------
        ValueError, TypeError, IndexError
            If the loss is "ctc", or the first chunk is not what the model takes.
        """
        if isinstance(self.objective, CTC):
            raise ValueError("x: expected arrays or lists with the loss 'ctc', got StatefulBatches")
        counting = Counting(class_weight=class_weight, missing=missing, some=False)
        stream = NumericStream(batches, self._samples, counting)
        stream.take(slice(0, 1))
        return stream

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
        samples = self.training_samples(x, y, lengths, mask)
        assert isinstance(samples, SequenceSamples)  # no other loss goes with such a core
        samples.targets.check_finite("since they feed back")
        samples.targets.washout = integer("known", known, 0, samples.inputs.steps - 1)
        size, total, losses = positive_int("batch_size", batch_size), 0.0, np.zeros(2)
        for start in range(0, len(samples), size):
            batch = samples.take(slice(start, start + size))
            rows = batch.x.shape[:2]
            first = np.broadcast_to(np.arange(rows[1]) < known, rows)
            for i, from_targets in enumerate((np.ones_like(first), first)):
                fed = {"targets": self._fed(batch.y), "teacher_forcing": from_targets}
                y, _ = self._run(batch.x, batch.lengths, fed)
                losses[i] += self._batch_loss(y, batch)[0] * batch.count
            total += batch.count
        if not total > 0:
            raise ValueError(f"known: expected steps behind the known ones to count, got {known}")
        return LoopLosses(*(losses / total).tolist())

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {"teacher_forcing": (self.teacher_forcing, 1.0)}

    def _extras(self, batch: SequenceBatch) -> dict[str, Any]:
        if not self.feeds_back or self.teacher_forcing == 0:
            return super()._extras(batch)
        fed = {"targets": self._fed(batch.y), "teacher_forcing": self.teacher_forcing}
        return super()._extras(batch) | fed

    def _fed(self, y: Array) -> Array:
        """Return what targets feed back: values, or 1 for a label's class; 0 where ignored."""
        if self.objective.kind != "labels":
            return y
        fed: Array = (y[..., None] == np.arange(self.output_size)).astype(self.dtype)
        return fed

    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        return h, None

    def _features_gradient(self, kept: Any, dfeatures: Array) -> tuple[Array | None, Any]:
        return dfeatures, None
