"""GeneratingModel: from what a sequence starts from, a source or a vector, to the sequence."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from rnncore._checks import as_array, check_shape
from rnncore._native import losses
from rnncore._types import Array
from rnncore.models.base import Model
from rnncore.models.inputs import clear_padding
from rnncore.models.samples.pairs import PairBatch, PairSamples
from rnncore.models.samples.values import ValueBatch, ValueSamples
from rnncore.module import check_tape


@dataclass(eq=False, repr=False)
class GeneratingTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: GeneratingModel
    valid: Array  # (B, S), False behind each target's end
    used: bool = False


class GeneratingModel(Model):
    """What `EncoderDecoder` and `OneToMany` share: trained on targets, of a length of their own.

    `_run`, `_forward` and `_backward` take samples that are checked already. What they return
    behind a target's end is anything.
    """

    output_size: int
    _tape: type[GeneratingTape] = GeneratingTape

    @abstractmethod
    def training_samples(
        self, x: Any, y: Any, lengths: Any = None, mask: Any = None
    ) -> PairSamples | ValueSamples:
        """Check training data against the model, as `Model.training_samples`."""

    @abstractmethod
    def _run(self, batch: Any) -> Array:
        """Return the outputs (B, S, output_size) without a tape."""

    @abstractmethod
    def _forward(self, batch: Any) -> tuple[Array, Any]:
        """As `_run`, in training mode, and keep the tape."""

    @abstractmethod
    def _backward(self, tape: Any, dy: Array, input_gradient: bool) -> Array | None:
        """As `backward`, of dy that is zero behind each target's end; unguarded."""

    def _loss(self, y: Array, batch: PairBatch | ValueBatch) -> tuple[float, Array]:
        """Return the mean loss and dy, zero where nothing counts."""
        values = isinstance(batch, ValueBatch)
        loss = losses.mean_squared_error if values else losses.softmax_cross_entropy
        return loss(y, batch.y, batch.counted, batch.weights)

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        y, tape = self._forward(batch)
        loss, dy = self._loss(y, batch)
        if math.isfinite(loss):
            self._backward(tape, dy, input_gradient=False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode; values run in closed loop."""
        return self._loss(self._run(batch), batch)[0]

    def __call__(self, x: Any, y: Any, lengths: Any = None) -> Array:
        """Return the outputs without a tape: logits as `forward`, values in closed loop."""
        batch = self.training_samples(x, y, lengths).take(slice(None), whole=True)
        return clear_padding(self._run(batch), batch.valid)

    def forward(self, x: Any, y: Any, lengths: Any = None) -> tuple[Array, Any]:
        """Run one batch in training mode (dropout is active): tokens under teacher forcing.

        Parameters
        ----------
        x, y, lengths
            As `training_samples` takes them. Values in closed loop take only their number of
            steps from y.

        Returns
        -------
        y : numpy.ndarray, shape (B, S + 1, V) or (B, T, O)
            Logits: at step t of token t given those before it, at step S_i of a target of its end
            token; S is the longest target's length. Or values. Zero behind a target's end.
        tape : GeneratingTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, or out of range.
        """
        batch = self.training_samples(x, y, lengths).take(slice(None), whole=True)
        outputs, tape = self._forward(batch)
        return clear_padding(outputs, tape.valid), tape

    def backward(self, tape: Any, dy: Any, *, input_gradient: bool = True) -> Array | None:
        """Add the parameters' gradients into `grads`.

        Parameters
        ----------
        tape : GeneratingTape
            From `forward`; serves once.
        dy : array_like, shape (B, S + 1, V) or (B, T, O)
            Gradient with respect to the outputs. Steps behind a target's end don't count.
        input_gradient : bool
            Whether to compute the gradient with respect to x.

        Returns
        -------
        dx : numpy.ndarray of x's shape, or None
            None without `input_gradient`, and for tokens.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another model's or used already, or dy's shape is not that of the outputs.
        """
        check_tape(tape, self._tape, self)
        dy = as_array("dy", dy, self.dtype, contiguous=True)
        check_shape("dy", dy, "the shape of y", (*tape.valid.shape, self.output_size))
        with self.unchanged_on_error():
            dx = self._backward(tape, clear_padding(dy, tape.valid), input_gradient)
        tape.used = True
        return dx if input_gradient else None
