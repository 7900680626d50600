"""SequenceModel: tokens or features in, recurrent layers, a linear head, a loss."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rnncore._checks import as_array, check_shape, positive_int
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths, Seed
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.losses import CTC, Loss
from rnncore.models.base import Model
from rnncore.models.components import check_embedding, check_loss, check_recurrent, label_loss
from rnncore.models.extras import Extras, extras_of, read_extras
from rnncore.models.inputs import clear_padding, predict_in_batches, read_batch, read_inputs
from rnncore.models.samples.label_sequences import LabelSequenceSamples, label_sequence_samples
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.sequences import SequenceBatch, SequenceSamples, sequence_samples
from rnncore.models.samples.targets import Wanted, what_counts
from rnncore.models.state_gradients import StateGradients
from rnncore.models.streaming import Streaming
from rnncore.module import Module, check_tape, constructor_text

_CENTRED = ("mean_squared_error", "mean_absolute_error", "huber")


@dataclass(eq=False, repr=False, slots=True)
class ModelTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: SequenceModel
    shape: tuple[int, ...]  # of y
    tokens: Array | None  # what the embedding read
    layers: Any  # the recurrent layers' tape
    features: Array  # what the head read
    lengths: Lengths | None
    kept: Any  # what the gradient of `_features` needs
    state: Any  # behind the sequences
    used: bool = False


class SequenceModel(Streaming, StateGradients, Model):
    """What `ManyToOne` and `ManyToMany` share: tokens or features in, core, head, loss.

    Attributes
    ----------
    core : RNN, LSTM or GRU
        The recurrent layers.
    head : Linear or None
        From the core's D*H features to the outputs; None where the core has outputs of its own.
    embedding : Embedding or None
        Turns tokens into the core's inputs.
    loss : str or Loss
        What `fit` minimises: a name, or an object where the loss has numbers or a function.
    objective : Loss
        The same, always as an object.
    """

    per_step: bool  # whether there is an output at every step
    recompute = 0  # steps between two states that a tape keeps; `fit` sets it while it trains

    def __init__(
        self,
        core: Recurrent[Any],
        output_size: int,
        *,
        loss: Any = "mean_squared_error",
        embedding: Embedding | None = None,
        rng: Seed = None,
    ) -> None:
        check_recurrent("core", core, own_outputs=self.per_step)
        check_embedding("embedding", embedding, core, "core")
        self.output_size = positive_int("output_size", output_size)
        self.objective = check_loss(loss, core, self.output_size, self.per_step)
        own = core.output_size
        if own is not None and own != self.output_size:
            raise ValueError(f"output_size: expected the core's, {own}, got {output_size}")
        super().__init__({}, core.dtype)
        self.core, self.embedding = core, embedding
        self.head: Linear | None = None
        if own is None:
            features = core.output_features
            self.head = Linear(features, self.output_size, dtype=core.dtype, rng=rng)
        children: dict[str, Module | None] = {
            "embedding": embedding, "core": core, "head": self.head
        }  # fmt: skip
        self._adopt({name: child for name, child in children.items() if child is not None})

    @property
    def loss(self) -> str | Loss:
        """What `fit` minimises: a name, or an object where the loss has numbers or a function."""
        return self.objective if fields(self.objective) else self.objective.name

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return what `repr` shows behind the sizes: value and default."""
        return {"loss": (self.loss, None), "embedding": (self.embedding, None)}

    def __repr__(self) -> str:
        return constructor_text(self, (self.core, self.output_size), self._options())

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
        inputs = read_inputs(x, lengths, self.core, self.embedding)
        counting = Counting(mask, sample_weight, class_weight, step_weight, washout, missing)
        if isinstance(self.objective, CTC):
            return label_sequence_samples(
                self.objective, self.output_size, self.dtype, inputs, y, counting, resets
            )
        samples = sequence_samples(self._wanted(), inputs, y, counting, resets)
        if self.feeds_back and self.teacher_forcing > 0:
            samples.targets.check_finite("since they feed back")
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
        size, labels = self.output_size // several, label_loss(self.core)
        return Wanted(objective.kind, size, self.per_step, self.dtype, labels, several)

    def _extras(self, batch: SequenceBatch) -> dict[str, Any]:
        """Return what the core takes in training besides x and lengths."""
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

    @abstractmethod
    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        """Return what the head sees of the core's outputs (B, T, F) and final state.

        And what `_features_gradient` needs again, as the tape's `kept`.
        """

    @abstractmethod
    def _features_gradient(self, kept: Any, dfeatures: Array) -> tuple[Array | None, Any]:
        """Return the gradients of the core's outputs and final state for that of `_features`."""

    def _run(self, x: Array, lengths: Lengths | None, extras: dict[str, Any]) -> tuple[Array, Any]:
        """Return outputs for checked inputs, anything behind a sequence's end; and the state."""
        if self.embedding is not None:
            x = self.embedding.run(np.ascontiguousarray(x))
        h, state, _ = self.core.run(x, lengths=lengths, **extras)
        features, _ = self._features(h, state, lengths)
        return (features if self.head is None else self.head.run(features)), state

    def _forward(
        self, x: Array, lengths: Lengths | None, extras: dict[str, Any]
    ) -> tuple[Array, ModelTape]:
        """As `_run`, in training mode, and keep the tape."""
        tokens = None
        if self.embedding is not None:
            tokens = np.ascontiguousarray(x)
            x = self.embedding.run(tokens)
        h, state, layers = self.core.run(
            x, lengths=lengths, training=True, recompute=self.recompute, **extras
        )
        features, kept = self._features(h, state, lengths)
        y = features if self.head is None else self.head.run(features)
        return y, ModelTape(self, y.shape, tokens, layers, features, lengths, kept, state)

    def _backward(self, tape: ModelTape, dy: Array, input_gradient: bool) -> Array | None:
        """As `backward`, of a checked dy that is zero behind each sequence's end; unguarded."""
        needed = input_gradient or self.embedding is not None
        dfeatures = dy
        if self.head is not None:
            through = self.head.run_backward(tape.features, dy)
            assert through is not None
            dfeatures = through
        dh, dstate = self._features_gradient(tape.kept, dfeatures)
        dx, _ = self.core.run_backward(tape.layers, dh, dstate, input_gradient=needed)
        if tape.tokens is not None and self.embedding is not None:
            assert dx is not None
            self.embedding.run_backward(tape.tokens, dx)
            return None
        return dx

    def __call__(
        self,
        x: Any,
        lengths: Any = None,
        *,
        y0: Any = None,
        targets: Any = None,
        teacher_forcing: Any = None,
        resets: Any = None,
    ) -> Array:
        """Return the outputs of one batch, without a tape; as `forward` otherwise."""
        x, lengths = read_batch(x, lengths, self.core, self.embedding)
        extras = read_extras(self.core, x, y0, targets, teacher_forcing, resets)
        return self._clear_padding(self._run(x, lengths, extras)[0], lengths)

    def forward(
        self,
        x: Any,
        lengths: Any = None,
        *,
        y0: Any = None,
        targets: Any = None,
        teacher_forcing: Any = None,
        resets: Any = None,
    ) -> tuple[Array, ModelTape]:
        """Run one batch in training mode (dropout is active) and keep the tape.

        Parameters
        ----------
        x : array_like, shape (B, T, input_size), or integer tokens (B, T) with an embedding
            The batch, whose valid steps are finite. A list of B arrays (T_i, input_size) or (T_i,)
            is taken as well, and padded.
        lengths : array_like of int, shape (B,), optional
            Valid steps of each sequence, in [0, T]; T by default.
        y0, targets, teacher_forcing
            As a core whose outputs feed back takes them.
        resets : array_like of bool, shape (B, T), optional
            Where the state in front of a step is the initial one, learned or zeros (with y0).

        Returns
        -------
        y : numpy.ndarray, shape (B, output_size), or (B, T, output_size) from ManyToMany
            The head's outputs: logits for the two entropy losses. Zero beyond a sequence's end.
        tape : ModelTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError, IndexError
            If a shape, a length, a dtype or a token is not what the model takes, or x is NaN or
            infinite.
        """
        x, lengths = read_batch(x, lengths, self.core, self.embedding)
        extras = read_extras(self.core, x, y0, targets, teacher_forcing, resets)
        y, tape = self._forward(x, lengths, extras)
        return self._clear_padding(y, lengths), tape

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

    def predict(
        self,
        x: Any,
        *,
        lengths: Any = None,
        batch_size: int = 256,
        y0: Any = None,
        targets: Any = None,
        teacher_forcing: Any = None,
        resets: Any = None,
    ) -> Any:
        """Return the outputs for any number of sequences, batch by batch and without a tape.

        Parameters
        ----------
        x : array_like, shape (N, T, input_size), or integer tokens (N, T) with an embedding
            A list of N arrays (T_i, input_size) or (T_i,) is taken as well.
        lengths : array_like of int, shape (N,), optional
            Valid steps of each sequence.
        batch_size : int
            Sequences at a time.
        y0, targets, teacher_forcing
            Of the N sequences, as a core whose outputs feed back takes them: without targets in
            closed loop, with them in open loop.
        resets : array_like of bool, shape (N, T), or list of N arrays (T_i,), optional
            Where the state in front of a step is the initial one: zeros, or the core's learned one
            (with y0).

        Returns
        -------
        y : numpy.ndarray, shape (N, output_size), or (N, T, output_size) from ManyToMany
            The head's outputs: logits for the two entropy losses. ManyToMany gives a list of
            (T_i, output_size) for a list.

        Raises
        ------
        ValueError, TypeError, IndexError
            As `forward`. Shapes and dtypes are checked before anything is computed, numbers and
            tokens a batch at a time.
        """
        inputs = read_inputs(x, lengths, self.core, self.embedding)
        size = positive_int("batch_size", batch_size)
        extras = Extras.of(self.core, inputs, y0, targets, teacher_forcing, resets)

        def run(x: Array, ends: Lengths | None, part: slice) -> Array:
            return self._run(x, ends, extras.take(part, x.shape[1]))[0]

        return predict_in_batches(inputs, size, self.per_step, self.output_size, self.dtype, run)

    def _clear_padding(self, y: Array, lengths: Lengths | None) -> Array:
        """Return y with zeros behind each sequence's end."""
        return clear_padding(y, valid_steps(y.shape[1], lengths) if self.per_step else None)
