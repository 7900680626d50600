"""SequenceModel: tokens or features in, recurrent layers, a linear head, a loss."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rnncore._checks import as_array, as_numpy, check_shape, positive_int
from rnncore._ragged import is_ragged, read_masks, read_rows, side_by_side, valid_steps
from rnncore._types import Array, Lengths, Seed
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.losses import CTC, Loss
from rnncore.models.base import Model
from rnncore.models.components import check_embedding, check_loss, check_recurrent
from rnncore.models.inputs import clear_padding, read_array, read_inputs
from rnncore.models.samples.label_sequences import LabelSequenceSamples, label_sequence_samples
from rnncore.models.samples.sequences import SequenceSamples, Wanted, sequence_samples
from rnncore.module import Module, check_tape, constructor_text


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
    used: bool = False


class SequenceModel(Model):
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
        self, x: Any, y: Any, lengths: Any = None, mask: Any = None
    ) -> SequenceSamples | LabelSequenceSamples:
        """Check training data against the model.

        Parameters
        ----------
        x, lengths
            As `predict` takes them.
        y : array_like
            Shape (N, output_size), or (N, T, output_size) for ManyToMany; integer labels (N,) or
            (N, T) for "softmax_cross_entropy". A list of N arrays where x is one and outputs are
            per step. For "ctc" a list of N arrays of labels (S_i,). Of a loss that needs several
            outputs for each target y is so many times smaller than output_size.
        mask : array_like of bool, shape (N,), or (N, T) for ManyToMany, optional
            True where the loss counts; a list of N arrays (T_i,) where x is one.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, a target that counts is NaN, infinite or
            out of range, there is no sequence, or nothing counts.
        """
        x, lengths = self.check_inputs(x, lengths)
        if isinstance(self.objective, CTC):
            return label_sequence_samples(self.objective, self.output_size, x, lengths, y, mask)
        wanted = Wanted(self.objective, self.output_size, self.per_step, self.dtype)
        return sequence_samples(wanted, x, lengths, y, mask)

    def _feedback(self, batch: SequenceSamples) -> dict[str, Any]:
        """Return what the core takes in training besides x and lengths."""
        return {}

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        y, tape = self._forward(batch.x, batch.lengths, self._feedback(batch))
        loss, dy = self._batch_loss(y, batch)
        if math.isfinite(loss):
            self._backward(tape, dy, input_gradient=False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode."""
        return self._batch_loss(self._run(batch.x, batch.lengths, {}), batch)[0]

    def _batch_loss(
        self, y: Array, batch: SequenceSamples | LabelSequenceSamples
    ) -> tuple[float, Array]:
        """Return the loss and dy, zero where nothing counts: so padding needs no clearing."""
        return self.objective.unchecked(y, batch.y, batch.counted)

    @abstractmethod
    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        """Return what the head sees of the core's outputs (B, T, F) and final state.

        And what `_core_backward` needs again, as the tape's `kept`.
        """

    @abstractmethod
    def _core_backward(
        self, tape: ModelTape, dfeatures: Array, input_gradient: bool
    ) -> Array | None:
        """Send the gradient of `_features` through the core, and return dx."""

    def _run(self, x: Array, lengths: Lengths | None, feedback: dict[str, Any]) -> Array:
        """Return the outputs for checked inputs; those behind a sequence's end are anything."""
        if self.embedding is not None:
            x = self.embedding.run(np.ascontiguousarray(x))
        h, state, _ = self.core.run(x, lengths=lengths, **feedback)
        features, _ = self._features(h, state, lengths)
        return features if self.head is None else self.head.run(features)

    def _forward(
        self, x: Array, lengths: Lengths | None, feedback: dict[str, Any]
    ) -> tuple[Array, ModelTape]:
        """As `_run`, in training mode, and keep the tape."""
        tokens = None
        if self.embedding is not None:
            tokens = np.ascontiguousarray(x)
            x = self.embedding.run(tokens)
        h, state, layers = self.core.run(x, lengths=lengths, training=True, **feedback)
        features, kept = self._features(h, state, lengths)
        y = features if self.head is None else self.head.run(features)
        return y, ModelTape(self, y.shape, tokens, layers, features, lengths, kept)

    def _backward(self, tape: ModelTape, dy: Array, input_gradient: bool) -> Array | None:
        """As `backward`, of a checked dy that is zero behind each sequence's end; unguarded."""
        needed = input_gradient or self.embedding is not None
        dfeatures = dy
        if self.head is not None:
            through = self.head.run_backward(tape.features, dy)
            assert through is not None
            dfeatures = through
        dx = self._core_backward(tape, dfeatures, needed)
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
    ) -> Array:
        """Return the outputs of one batch, without a tape; as `forward` otherwise."""
        x, lengths = read_array(x, lengths, self.core, self.embedding)
        feedback = self._read_feedback(y0, targets, teacher_forcing)
        return self._clear_padding(self._run(x, lengths, feedback), lengths)

    def forward(
        self,
        x: Any,
        lengths: Any = None,
        *,
        y0: Any = None,
        targets: Any = None,
        teacher_forcing: Any = None,
    ) -> tuple[Array, ModelTape]:
        """Run one batch in training mode (dropout is active) and keep the tape.

        Parameters
        ----------
        x : array_like, shape (B, T, input_size), or integer tokens (B, T) with an embedding
            The batch, in the model's dtype.
        lengths : array_like of int, shape (B,), optional
            Valid steps of each sequence, in [0, T]; T by default.
        y0, targets, teacher_forcing
            As a core whose outputs feed back takes them.

        Returns
        -------
        y : numpy.ndarray, shape (B, output_size), or (B, T, output_size) from ManyToMany
            The head's outputs: logits for the two entropy losses. Zero beyond a sequence's end.
        tape : ModelTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError, IndexError
            If a shape, a length, a dtype or a token is not what the model takes.
        """
        x, lengths = read_array(x, lengths, self.core, self.embedding)
        y, tape = self._forward(x, lengths, self._read_feedback(y0, targets, teacher_forcing))
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

        Returns
        -------
        y : numpy.ndarray, shape (N, output_size), or (N, T, output_size) from ManyToMany
            The head's outputs: logits for the two entropy losses. ManyToMany gives a list of
            (T_i, output_size) for a list.

        Raises
        ------
        ValueError, TypeError, IndexError
            As `forward`, for all of x before anything is computed.
        """
        ragged = is_ragged(x)
        x, lengths = self.check_inputs(x, lengths)
        batch_size = positive_int("batch_size", batch_size)
        feedback = {
            name: self._of_each(name, value, x, lengths)
            for name, value in self._read_feedback(y0, targets, teacher_forcing).items()
        }
        y = np.empty((*x.shape[: 1 + self.per_step], self.output_size), self.dtype)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            ends = None if lengths is None else lengths[part]
            own = {k: v if np.ndim(v) == 0 else v[part] for k, v in feedback.items()}
            y[part] = self._clear_padding(self._run(x[part], ends, own), ends)
        if ragged and self.per_step:
            assert lengths is not None
            return [line[:end] for line, end in zip(y, lengths, strict=True)]
        return y

    def check_inputs(self, x: Any, lengths: Any = None) -> tuple[Array, Lengths | None]:
        """Return x as (N, T, input_size) in the model's dtype, or as tokens (N, T), and lengths.

        Parameters
        ----------
        x, lengths
            As `predict` takes them.

        Raises
        ------
        ValueError, TypeError
            If they are of another shape or dtype, or `lengths` comes with a list.
        IndexError
            If a token is out of range.
        """
        return read_inputs(x, lengths, self.core, self.embedding)

    def _clear_padding(self, y: Array, lengths: Lengths | None) -> Array:
        """Return y with zeros behind each sequence's end."""
        return clear_padding(y, valid_steps(y.shape[1], lengths) if self.per_step else None)

    def _read_feedback(self, y0: Any, targets: Any, teacher_forcing: Any) -> dict[str, Any]:
        """Return what is not None; ValueError for a core without outputs of its own."""
        values = {"y0": y0, "targets": targets, "teacher_forcing": teacher_forcing}
        feedback = {name: value for name, value in values.items() if value is not None}
        if self.core.output_size is None:
            for name in feedback:
                raise ValueError(f"{name}: expected None without output_size, got one")
        return feedback

    def _of_each(self, name: str, value: Any, x: Array, lengths: Lengths | None) -> Any:
        """Return what the core takes besides x, for all sequences; lists of steps padded to T."""
        N, T = x.shape[:2]
        steps = np.full(N, T) if lengths is None else lengths
        if name == "targets" and is_ragged(value):
            O = self.output_size  # noqa: E741
            value = side_by_side(read_rows(name, value, steps, O, self.dtype, "output_size"), T)
        elif name == "teacher_forcing" and is_ragged(value):
            value = side_by_side(read_masks(name, value, steps), T)
        elif isinstance(value, (list, tuple)):
            value = as_numpy(name, value)
        if np.ndim(value) > 0 and len(value) != N:
            raise ValueError(f"{name}: expected N = {N} as in x, got {len(value)}")
        return value
