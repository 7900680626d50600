"""CoreModel: tokens or features in, a recurrent core, a linear head, a loss."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import losses
from rnncore._checks import as_array, as_numpy, check_shape, choice, positive_int
from rnncore._ragged import is_ragged, read_masks, read_rows, side_by_side, valid_steps
from rnncore._types import Array, Lengths, Seed
from rnncore.batches import Samples, samples
from rnncore.layers import GRU, LSTM, RNN
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models.base import Model, check_core, core_features
from rnncore.models.inputs import check_batch, check_embedding, read_inputs
from rnncore.models.rows import cleared
from rnncore.module import Module, check_tape, constructor_text

_LOSSES: dict[str, Callable[[Any, Any, Any], tuple[float, Array]]] = {
    "mean_squared_error": losses.mean_squared_error,
    "softmax_cross_entropy": losses.softmax_cross_entropy,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "negative_log_likelihood": losses.negative_log_likelihood,
}


@dataclass(eq=False, repr=False)
class ModelTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: CoreModel
    shape: tuple[int, ...]  # of y
    embedding: Any
    core: Any
    head: Any
    valid: Array | None  # (B, T), False beyond a sequence's end
    kept: Any  # what the gradient of `_features` needs
    used: bool = False


class CoreModel(Model):
    """What `ManyToOne` and `ManyToMany` share: tokens or features in, core, head, loss.

    Attributes
    ----------
    core : RNN, LSTM or GRU
        The recurrent layers.
    head : Linear or None
        From the core's D*H features to the outputs; None where the core has outputs of its own.
    embedding : Embedding or None
        Turns tokens into the core's inputs.
    loss : str
        Name of the loss that `fit` minimises.
    """

    per_step: bool  # whether there is an output at every step

    def __init__(
        self,
        core: RNN | LSTM | GRU,
        output_size: int,
        *,
        loss: str = "mean_squared_error",
        embedding: Embedding | None = None,
        rng: Seed = None,
    ) -> None:
        check_core("core", core, own_outputs=self.per_step)
        check_embedding("embedding", embedding, core, "core")
        self.loss = choice("loss", loss, tuple(_LOSSES))
        self.output_size = positive_int("output_size", output_size)
        own = core.output_size
        if own is not None and own != self.output_size:
            raise ValueError(f"output_size: expected the core's, {own}, got {output_size}")
        softmax = own is not None and core.output_activation == "softmax"
        usual = "mean_squared_error" if own is not None else "softmax_cross_entropy"
        if self.loss == "negative_log_likelihood" and not softmax:
            raise ValueError(
                f"loss: expected {usual!r} for outputs without a softmax of their own, got {loss!r}"
            )
        if own is not None and self.loss.endswith("cross_entropy"):
            wanted = "negative_log_likelihood" if softmax else usual
            raise ValueError(f"loss: expected {wanted!r} for a core with output_size, got {loss!r}")
        super().__init__({}, core.dtype)
        self.core, self.embedding = core, embedding
        self._directions = 2 if core.bidirectional else 1
        features = self._directions * core_features(core)
        self.head = (
            None
            if core.output_size is not None
            else Linear(features, self.output_size, dtype=core.dtype, rng=rng)
        )
        parts: dict[str, Module | None] = {"embedding": embedding, "core": core, "head": self.head}
        self._adopt({name: part for name, part in parts.items() if part is not None})

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return what `repr` shows behind the sizes: value and default."""
        return {"loss": (self.loss, None), "embedding": (self.embedding, None)}

    def __repr__(self) -> str:
        return constructor_text(self, (self.core, self.output_size), self._options())

    def training_samples(self, x: Any, y: Any, lengths: Any = None, mask: Any = None) -> Samples:
        """Check training data; see `rnncore.batches.samples`."""
        return samples(self, x, y, lengths, mask)

    def _feedback(self, batch: Samples) -> dict[str, Any]:
        """Return what the core takes in training besides x and lengths."""
        return {}

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        y, tape = self.forward(batch.x, batch.lengths, **self._feedback(batch))
        loss, dy = self.loss_and_gradient(y, batch.y, batch.counted)
        if math.isfinite(loss):
            self.backward(tape, dy, input_gradient=False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode."""
        y = self(batch.x, batch.lengths)
        return self.loss_and_gradient(y, batch.y, batch.counted)[0]

    @abstractmethod
    def _features(self, h: Array, state: Any, valid: Array | None) -> tuple[Array, Any]:
        """Return what the head sees of the core's outputs (B, T, F) and final state.

        And what `_core_backward` needs again, as the tape's `kept`.
        """

    @abstractmethod
    def _core_backward(
        self, tape: ModelTape, dfeatures: Array, input_gradient: bool
    ) -> Array | None:
        """Send the gradient of `_features` through the core, and return dx."""

    def __call__(self, x: Any, lengths: Any = None, **feedback: Any) -> Array:
        """Return the outputs of one batch, without a tape; as `forward` otherwise."""
        x, lengths = self._check_batch(x, lengths)
        valid = valid_steps(x.shape[1], lengths)
        if self.embedding is not None:
            x = self.embedding(x)
        h, state = self.core(x, lengths=lengths, **feedback)
        features = self._features(h, state, valid)[0]
        return self._clear_padding(features if self.head is None else self.head(features), valid)

    def forward(self, x: Any, lengths: Any = None, **feedback: Any) -> tuple[Array, ModelTape]:
        """Run one batch in training mode (dropout is active) and keep the tape.

        Parameters
        ----------
        x : array_like, shape (B, T, input_size), or integer tokens (B, T) with an embedding
            The batch, in the model's dtype.
        lengths : array_like of int, shape (B,), optional
            Valid steps of each sequence, in [0, T]; T by default.
        **feedback
            y0, targets and teacher_forcing, as a core whose outputs feed back takes them.

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
        x, lengths = self._check_batch(x, lengths)
        valid, tape_embedding = valid_steps(x.shape[1], lengths), None
        if self.embedding is not None:
            x, tape_embedding = self.embedding.forward(x)
        h, state, tape_core = self.core.forward(x, lengths=lengths, **feedback)
        y, kept = self._features(h, state, valid)
        tape_head = None
        if self.head is not None:
            y, tape_head = self.head.forward(y)
        tape = ModelTape(self, y.shape, tape_embedding, tape_core, tape_head, valid, kept)
        return self._clear_padding(y, valid), tape

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
        dy = as_array("dy", dy, self.dtype)
        check_shape("dy", dy, "the shape of y", tape.shape)
        needed = input_gradient or self.embedding is not None
        dy = self._clear_padding(dy, tape.valid)
        # An error in one part must leave no half of a gradient in another.
        parts = [self] if self.embedding is not None else [] if self.head is None else [self.head]
        saved = [part.flat_grads.copy() for part in parts]
        try:
            dfeatures = dy if self.head is None else self.head.backward(tape.head, dy)
            assert dfeatures is not None
            dx = self._core_backward(tape, dfeatures, needed)
            if self.embedding is not None:
                self.embedding.backward(tape.embedding, dx)
                dx = None
        except BaseException:
            for part, grads in zip(parts, saved, strict=True):
                part.flat_grads[...] = grads
            raise
        tape.used = True
        return dx

    def loss_and_gradient(self, y: Array, target: Any, mask: Any = None) -> tuple[float, Array]:
        """Return the mean loss over what counts, and its gradient with respect to y.

        Errors are those of the function in `rnncore.losses`.

        Parameters
        ----------
        y : numpy.ndarray
            From `forward`.
        target : array_like
            Of y's shape; for "softmax_cross_entropy" integer labels (B,) or (B, T), -100 = ignored.
        mask : array_like of bool, optional
            Shape (B,) or (B, T): True where the loss counts.
        """
        return _LOSSES[self.loss](y, target, mask)

    def predict(
        self, x: Any, *, lengths: Any = None, batch_size: int = 256, **feedback: Any
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
        **feedback
            y0, targets and teacher_forcing of the N sequences, as a core whose outputs feed back
            takes them: without targets in closed loop, with them in open loop.

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
        shape = (*x.shape[: 1 + self.per_step], self.output_size)
        given = {name: self._of_each(name, value, x, lengths) for name, value in feedback.items()}
        y = np.empty(shape, self.dtype)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            own = {k: v if v is None or np.ndim(v) == 0 else v[part] for k, v in given.items()}
            y[part] = self(x[part], None if lengths is None else lengths[part], **own)
        if ragged and self.per_step:
            return [row[:end] for row, end in zip(y, lengths, strict=True)]
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

    def _check_batch(self, x: Any, lengths: Any) -> tuple[Array, Lengths | None]:
        return check_batch(x, lengths, self.core, self.embedding)

    def _clear_padding(self, y: Array, valid: Array | None) -> Array:
        """Return y with zeros beyond each sequence's end."""
        return cleared(y, valid if self.per_step else None)

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
        if value is not None and np.ndim(value) > 0 and len(value) != N:
            raise ValueError(f"{name}: expected N = {N} as in x, got {len(value)}")
        return value
