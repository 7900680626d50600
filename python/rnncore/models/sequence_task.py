"""SequenceTask: a model that gives outputs for sequences, or for their steps, and has a loss."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from rnncore._blocks import Blocks
from rnncore._checks import as_array, check_shape
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers.linear import Linear
from rnncore.losses import CTC, Loss
from rnncore.models.base import Model
from rnncore.models.extras import extras_of
from rnncore.models.inputs import Inputs, clear_padding
from rnncore.models.samples.block_samples import BlockSamples, Source
from rnncore.models.samples.label_sequences import LabelSequenceSamples, label_sequence_samples
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.sequences import SequenceBatch, SequenceSamples, sequence_samples
from rnncore.models.samples.targets import Wanted, what_counts
from rnncore.module import check_tape

_CENTRED = ("mean_squared_error", "mean_absolute_error", "huber")


@dataclass(eq=False, repr=False, slots=True)
class ModelTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: SequenceTask
    shape: tuple[int, ...]  # of y
    lengths: Lengths | None
    kept: Any  # what the model's own gradient needs
    state: Any = None  # behind the sequences
    used: bool = False


class SequenceTask(Model):
    """What models share that read sequences, give outputs for them and are trained on targets.

    Attributes
    ----------
    output_size : int
        Numbers in an output.
    head : Linear or None
        What gives the outputs, where they are not a core's own.
    loss : str or Loss
        What `fit` minimises: a name, or an object where the loss has numbers or a function.
    objective : Loss
        The same, always as an object.
    """

    per_step: bool  # whether there is an output at every step
    output_size: int
    objective: Loss
    head: Linear | None

    @property
    def loss(self) -> str | Loss:
        """What `fit` minimises: a name, or an object where the loss has numbers or a function."""
        return self.objective if fields(self.objective) else self.objective.name

    @property
    @abstractmethod
    def label_loss(self) -> str | None:
        """The loss for integer labels that goes with the outputs; None: there is none."""

    @abstractmethod
    def _read_inputs(self, x: Any, lengths: Any) -> Inputs:
        """Return sequences that the model reads, checked but for their numbers."""

    @abstractmethod
    def _run(self, x: Array, lengths: Lengths | None, extras: dict[str, Any]) -> tuple[Array, Any]:
        """Return outputs for checked inputs, anything behind a sequence's end; and the state."""

    @abstractmethod
    def _forward(
        self, x: Array, lengths: Lengths | None, extras: dict[str, Any]
    ) -> tuple[Array, ModelTape]:
        """As `_run`, in training mode, and keep the tape."""

    @abstractmethod
    def _backward(self, tape: ModelTape, dy: Array, input_gradient: bool) -> Array | None:
        """As `backward`, of a checked dy that is zero behind each sequence's end; unguarded."""

    def training_samples(
        self,
        x: Any,
        y: Any,
        lengths: Any = None,
        mask: Any = None,
        *,
        resets: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        step_weight: Any = None,
        washout: int = 0,
        missing: str = "raise",
    ) -> SequenceSamples | LabelSequenceSamples:
        """Check training data against the model; see `rnncore.training.fit` for what they mean.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, an input, or a target that counts, is NaN,
            infinite or out of range, there is no sequence, or nothing counts.
        """
        counting = Counting(mask, sample_weight, class_weight, step_weight, washout, missing)
        return self._samples(x, y, lengths, counting, resets)

    def _samples(
        self, x: Any, y: Any, lengths: Any, counting: Counting, resets: Any = None
    ) -> SequenceSamples | LabelSequenceSamples:
        inputs = self._read_inputs(x, lengths)
        if isinstance(self.objective, CTC):
            return label_sequence_samples(
                self.objective, self.output_size, self.dtype, inputs, y, counting, resets
            )
        samples = sequence_samples(self._wanted(), inputs, y, counting, resets)
        if self.feeds_back and self.teacher_forcing > 0:
            samples.targets.check_finite("since they feed back")
        return samples

    def block_samples(
        self,
        blocks: Blocks,
        *,
        class_weight: Any = None,
        washout: int = 0,
        missing: str = "raise",
    ) -> BlockSamples:
        """Return samples that lie on disk, read in blocks, as training samples.

        Parameters
        ----------
        blocks : rnncore.data.Blocks
            Its first block is read and checked now, every block again when its turn comes. In some
            of them it may be that nothing counts.
        class_weight, washout, missing
            As `fit` takes them.

        Raises
        ------
        ValueError, TypeError, IndexError
            If the first block is not what the model takes.
        """
        counting = Counting(class_weight=class_weight, washout=washout, missing=missing, some=False)
        samples = BlockSamples(Source(blocks, self._samples, counting, self.per_step))
        samples.check_first()
        return samples

    def start_at(self, mean: Array) -> None:
        """Let the untrained model answer `mean` (output_size,), where that is not 0.

        Only a head whose bias is zeros is set, and for a loss whose outputs are the values
        themselves.
        """
        if self.head is not None and self.objective.name in _CENTRED:
            bias = self.head.parameters.get("bias")
            if bias is not None and not bias.any():
                bias[...] = mean

    def _wanted(self) -> Wanted:
        objective, several = self.objective, self.objective.outputs_per_target
        size = self.output_size // several
        return Wanted(objective.kind, size, self.per_step, self.dtype, self.label_loss, several)

    def _extras(self, batch: SequenceBatch) -> dict[str, Any]:
        """Return what the model takes in training besides x and lengths."""
        return extras_of(batch)

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        y, tape = self._forward(batch.x, batch.lengths, self._extras(batch))
        batch.carry(tape.state)
        loss, dy = self._batch_loss(y, batch)
        if math.isfinite(loss):
            self._backward(tape, dy, input_gradient=False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode."""
        return self._batch_loss(self._answer(batch), batch)[0]

    def batch_evaluation(self, batch: Any) -> tuple[float, Array, Array]:
        """Return a batch's mean loss in inference mode, and outputs and targets of what counts."""
        y = self._answer(batch)
        return self._batch_loss(y, batch)[0], *what_counts(y, batch)

    def _answer(self, batch: SequenceBatch) -> Array:
        y, state = self._run(batch.x, batch.lengths, extras_of(batch))
        batch.carry(state)
        return y

    def _batch_loss(self, y: Array, batch: SequenceBatch) -> tuple[float, Array]:
        """Return the loss and dy, zero where nothing counts: so padding needs no clearing."""
        return self.objective.unchecked(y, batch.y, batch.counted, batch.weights)

    def backward(self, tape: ModelTape, dy: Any, *, input_gradient: bool = True) -> Array | None:
        """Add the parameters' gradients into `grads`.

        Parameters
        ----------
        tape : ModelTape
            From `forward`; serves once.
        dy : array_like
            Gradient with respect to y, of its shape. Steps beyond a sequence's end don't count.
        input_gradient : bool
            Whether to compute the gradient with respect to x.

        Returns
        -------
        dx : numpy.ndarray, shape (B, T, input_size), or None
            None without `input_gradient`, and for tokens.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another model's or used already, or dy's shape is not y's.
        """
        check_tape(tape, ModelTape, self)
        dy = as_array("dy", dy, self.dtype, contiguous=True)
        check_shape("dy", dy, "the shape of y", tape.shape)
        dy = self._clear_padding(dy, tape.lengths)
        with self.unchanged_on_error():
            dx = self._backward(tape, dy, input_gradient)
        tape.used = True
        return dx if input_gradient else None

    def loss_and_gradient(
        self, y: Array, target: Any, mask: Any = None, weights: Any = None, **options: Any
    ) -> tuple[float, Array]:
        """Return the mean loss over what counts, and its gradient with respect to y.

        Arguments and errors are those of the function in `rnncore.losses`.

        Parameters
        ----------
        y : numpy.ndarray
            From `forward`.
        target : array_like
            Of y's shape; for "softmax_cross_entropy" integer labels (B,) or (B, T), -100 = ignored.
        mask : array_like of bool, optional
            Shape (B,) or (B, T): True where the loss counts.
        weights : array_like, optional
            Of the mask's shape: how much each row counts.
        **options
            What else the function takes, such as `lengths` of "ctc".
        """
        return self.objective(y, target, mask, weights, **options)

    def _clear_padding(self, y: Array, lengths: Lengths | None) -> Array:
        """Return y with zeros behind each sequence's end."""
        return clear_padding(y, valid_steps(y.shape[1], lengths) if self.per_step else None)
