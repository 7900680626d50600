"""Sequential: a chain of layers."""

from __future__ import annotations

from typing import Any

from rnncore._checks import as_booleans, check_shape, positive_int
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers import Pooling, Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.losses import as_loss
from rnncore.models.chain import Link, Signal, chain_gradient, links_of
from rnncore.models.chain_checks import (
    check_chain,
    check_chain_loss,
    ends_in_softmax,
    refuse_resets,
)
from rnncore.models.inputs import Inputs, clear_padding, predict_in_batches, read_inputs
from rnncore.models.samples.held import Held
from rnncore.models.samples.reading import read_flags
from rnncore.models.sequence_task import ModelTape, SequenceTask
from rnncore.module import Module, constructor_text


class Sequential(SequenceTask, loadable=True):
    """A chain of layers: each reads what the one before it gives.

    Without a `Pooling` there is an output at every step, with one an output for each sequence. Like
    all models it reads batches first and takes `lengths`, and has `fit`, `predict`, `save`.

    Parameters
    ----------
    *layers : Module
        Embedding (first, for integer tokens), RNN, GRU and LSTM with batch_first=True, Linear,
        Activation, Pooling, Merging, Masking and Reversal. They become part of the model, under the
        names "0", "1", ..., as in torch.nn.Sequential.
    loss : str, Loss or callable
        What `fit` minimises, as for `ManyToOne`. A chain that ends in Activation("softmax") gives
        probabilities, for "negative_log_likelihood"; the entropies take logits.

    Attributes
    ----------
    layers : tuple of Module
    per_step : bool
        Whether there is an output at every step.
    input_size : int
        Features of the inputs, or tokens of the Embedding.
    output_size : int
        Features of the outputs.

    Raises
    ------
    TypeError, ValueError
        If a layer is of another kind, is part of a model already, or does not read what the one
        before gives; the message gives its place.

    Notes
    -----
    An LSTM whose outputs feed back runs in closed loop.
    """

    _views = (*SequenceTask._views, "_links")
    _links: list[Link]

    def __init__(self, *layers: Module, loss: Any = "mean_squared_error") -> None:
        sizes = check_chain(layers)
        self.input_size, self.output_size = sizes.inputs, sizes.outputs
        self.per_step = not any(isinstance(layer, Pooling) for layer in layers)
        self.objective = check_chain_loss(as_loss(loss), layers, self.output_size, self.per_step)
        super().__init__({}, sizes.dtype)
        self.embedding = next((each for each in layers if isinstance(each, Embedding)), None)
        self.head = layers[-1] if isinstance(layers[-1], Linear) else None
        self._adopt({str(i): layer for i, layer in enumerate(layers)})

    @property
    def layers(self) -> tuple[Module, ...]:
        """The layers, in their order."""
        return tuple(self.children.values())

    @property
    def label_loss(self) -> str:
        """The loss for integer labels that goes with the outputs."""
        return (
            "negative_log_likelihood" if ends_in_softmax(self.layers) else "softmax_cross_entropy"
        )

    def __repr__(self) -> str:
        return constructor_text(self, self.layers, {"loss": (self.loss, None)})

    def _read_inputs(self, x: Any, lengths: Any) -> Inputs:
        return read_inputs(x, lengths, self, self.embedding)

    def _place(self, parameters: Array, grads: Array) -> None:
        super()._place(parameters, grads)
        self._links = links_of(self.layers)

    def _signal(
        self, x: Array, lengths: Lengths | None, extras: dict[str, Any], training: bool
    ) -> Signal:
        if extras.get("resets") is not None:
            refuse_resets(self.layers)
        if x.ndim == 3 and not isinstance(self.children["0"], Recurrent):  # which reads no padding
            x = clear_padding(x, valid_steps(x.shape[1], lengths))
        return Signal(x, lengths, extras.get("resets"), training)

    def _run(self, x: Array, lengths: Lengths | None, extras: dict[str, Any]) -> tuple[Array, Any]:
        signal = self._signal(x, lengths, extras, training=False)
        for link in self._links:
            link.forward(signal)
        return signal.values, None

    def _forward(
        self, x: Array, lengths: Lengths | None, extras: dict[str, Any]
    ) -> tuple[Array, ModelTape]:
        signal = self._signal(x, lengths, extras, training=True)
        kept = [link.forward(signal) for link in self._links]
        return signal.values, ModelTape(self, signal.values.shape, lengths, kept)

    def _backward(self, tape: ModelTape, dy: Array, input_gradient: bool) -> Array | None:
        return chain_gradient(self._links, tape.kept, dy, input_gradient)

    def __call__(self, x: Any, lengths: Any = None, *, resets: Any = None) -> Array:
        """Return the outputs of one batch, without a tape; as `forward` otherwise."""
        x, lengths, extras = self._read_batch(x, lengths, resets)
        return self._clear_padding(self._run(x, lengths, extras)[0], lengths)

    def forward(
        self, x: Any, lengths: Any = None, *, resets: Any = None
    ) -> tuple[Array, ModelTape]:
        """Run one batch in training mode (dropout is active) and keep the tape.

        Parameters
        ----------
        x : array_like, shape (B, T, input_size), or integer tokens (B, T) with an Embedding
            The batch, whose valid steps are finite. A list of B arrays (T_i, input_size) or (T_i,)
            is taken as well, and padded.
        lengths : array_like of int, shape (B,), optional
            Valid steps of each sequence, in [0, T]; T by default.
        resets : array_like of bool, shape (B, T), optional
            Where the state of every recurrent layer in front of a step is the initial one. Not with
            Masking or Reversal.

        Returns
        -------
        y : numpy.ndarray, shape (B, output_size), or (B, T, output_size) without a Pooling
            Zero beyond a sequence's end.
        tape : ModelTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError, IndexError
            If a shape, a length, a dtype or a token is not what the model takes, or x is NaN or
            infinite.
        """
        x, lengths, extras = self._read_batch(x, lengths, resets)
        y, tape = self._forward(x, lengths, extras)
        return self._clear_padding(y, lengths), tape

    def _read_batch(
        self, x: Any, lengths: Any, resets: Any
    ) -> tuple[Array, Lengths | None, dict[str, Any]]:
        inputs = self._read_inputs(x, lengths)
        x, ends = inputs.take_checked(slice(None), inputs.steps)
        if resets is not None:
            resets = as_booleans("resets", resets)
            check_shape("resets", resets, "(B, T)", x.shape[:2])
        return x, ends, {"resets": resets}

    def predict(
        self, x: Any, *, lengths: Any = None, batch_size: int = 256, resets: Any = None
    ) -> Any:
        """Return the outputs for any number of sequences, batch by batch and without a tape.

        Parameters
        ----------
        x : array_like, shape (N, T, input_size), or integer tokens (N, T) with an Embedding
            A list of N arrays (T_i, input_size) or (T_i,) is taken as well.
        lengths : array_like of int, shape (N,), optional
            Valid steps of each sequence.
        batch_size : int
            Sequences at a time.
        resets : array_like of bool, shape (N, T), or list of N arrays (T_i,), optional
            As `forward` takes them.

        Returns
        -------
        y : numpy.ndarray, shape (N, output_size), or (N, T, output_size) without a Pooling
            A list of (T_i, output_size) for a list, without a Pooling.

        Raises
        ------
        ValueError, TypeError, IndexError
            As `forward`. Shapes and dtypes are checked before anything is computed, numbers and
            tokens a batch at a time.
        """
        inputs = self._read_inputs(x, lengths)
        size, cuts = positive_int("batch_size", batch_size), _cuts(resets, inputs)

        def run(x: Array, ends: Lengths | None, part: slice) -> Array:
            resets = None if cuts is None else cuts.take(part, x.shape[1])
            return self._run(x, ends, {"resets": resets})[0]

        return predict_in_batches(inputs, size, self.per_step, self.output_size, self.dtype, run)


def _cuts(resets: Any, inputs: Inputs) -> Held | None:
    if resets is None:
        return None
    return read_flags("resets", resets, (len(inputs), inputs.steps), inputs.lengths)
