"""SequenceModel: tokens or features in, recurrent layers, a linear head, a loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import as_int64, positive_int
from rnncore._types import Array, Lengths, Seed
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models.components import check_embedding, check_loss, check_recurrent, label_loss
from rnncore.models.extras import Extras, read_extras
from rnncore.models.inputs import Inputs, predict_in_batches, read_batch, read_inputs
from rnncore.models.sequence_task import ModelTape, SequenceTask
from rnncore.models.state_gradients import StateGradients
from rnncore.models.streaming import Streaming
from rnncore.module import Module, constructor_text


class _Kept(NamedTuple):
    """What `backward` needs of the parts."""

    tokens: Array | None  # what the embedding read
    layers: Any  # the recurrent layers' tape
    features: Array  # what the head read
    pooled: Any  # what the gradient of `_features` needs


class SequenceModel(SequenceTask, Streaming, StateGradients):
    """What `ManyToOne` and `ManyToMany` share: tokens or features in, core, head, loss.

    Attributes
    ----------
    core : RNN, LSTM or GRU
        The recurrent layers.
    head : Linear or None
        From the core's D*H features to the outputs; None where the core has outputs of its own.
    embedding : Embedding or None
        Turns tokens into the core's inputs.
    loss, objective
        As of `SequenceTask`.
    """

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

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return what `repr` shows behind the sizes: value and default."""
        return {"loss": (self.loss, None), "embedding": (self.embedding, None)}

    def __repr__(self) -> str:
        return constructor_text(self, (self.core, self.output_size), self._options())

    @property
    def label_loss(self) -> str | None:
        """The loss for integer labels that goes with the core's outputs; None: there is none."""
        return label_loss(self.core)

    def _read_inputs(self, x: Any, lengths: Any) -> Inputs:
        return read_inputs(x, lengths, self.core, self.embedding)

    @abstractmethod
    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        """Return what the head sees of the core's outputs (B, T, F) and final state.

        And what `_features_gradient` needs again, as the tape's `kept`.
        """

    @abstractmethod
    def _features_gradient(self, kept: Any, dfeatures: Array) -> tuple[Array | None, Any]:
        """Return the gradients of the core's outputs and final state for that of `_features`."""

    def _run(self, x: Array, lengths: Lengths | None, extras: dict[str, Any]) -> tuple[Array, Any]:
        if self.embedding is not None:
            x = self.embedding.run(as_int64(x))
        h, state, _ = self.core.run(x, lengths=lengths, **extras)
        features, _ = self._features(h, state, lengths)
        return (features if self.head is None else self.head.run(features)), state

    def _forward(
        self, x: Array, lengths: Lengths | None, extras: dict[str, Any]
    ) -> tuple[Array, ModelTape]:
        tokens = None
        if self.embedding is not None:
            tokens = np.ascontiguousarray(x)
            x = self.embedding.run(tokens)
        h, state, layers = self.core.run(
            x, lengths=lengths, training=True, recompute=self.recompute, **extras
        )
        features, pooled = self._features(h, state, lengths)
        y = features if self.head is None else self.head.run(features)
        kept = _Kept(tokens, layers, features, pooled)
        return y, ModelTape(self, y.shape, lengths, kept, state)

    def _backward(self, tape: ModelTape, dy: Array, input_gradient: bool) -> Array | None:
        needed = input_gradient or self.embedding is not None
        kept: _Kept = tape.kept
        dfeatures = dy
        if self.head is not None:
            through = self.head.run_backward(kept.features, dy)
            assert through is not None
            dfeatures = through
        dh, dstate = self._features_gradient(kept.pooled, dfeatures)
        dx, _ = self.core.run_backward(kept.layers, dh, dstate, input_gradient=needed)
        if kept.tokens is not None and self.embedding is not None:
            assert dx is not None
            self.embedding.run_backward(kept.tokens, dx)
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
        inputs = self._read_inputs(x, lengths)
        size = positive_int("batch_size", batch_size)
        extras = Extras.of(self.core, inputs, y0, targets, teacher_forcing, resets)

        def run(x: Array, ends: Lengths | None, part: slice) -> Array:
            return self._run(x, ends, extras.take(part, x.shape[1]))[0]

        return predict_in_batches(inputs, size, self.per_step, self.output_size, self.dtype, run)
