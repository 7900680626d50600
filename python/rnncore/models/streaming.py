"""Streaming: a trained model over sequences that come step by step, or in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import as_array, refuse
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear, linear
from rnncore.models.inputs import checked_tokens, clear_padding, read_batch
from rnncore.models.states import last_ends


class Streaming:
    """What `ManyToOne` and `ManyToMany` do with a state: `step` and `advance`.

    It stands beside a model's other bases and uses its core, embedding and head.
    """

    core: Recurrent[Any]
    embedding: Embedding | None
    head: Linear | None
    per_step: bool  # whether there is an output at every step
    pooling: str = "last"

    def step(self, x_t: Any, state: Any = None) -> tuple[Array, Any]:
        """Read one time step; return the outputs behind it and the state to go on from.

        The outputs are those of a call on all steps so far (of `ManyToMany` the last ones), to
        rounding. A core whose outputs feed back runs in closed loop.

        Parameters
        ----------
        x_t : array_like, shape (B, input_size) or (input_size,)
            Of B sequences, or of one; with an embedding integer tokens (B,), or one token.
        state : as the core's, (num_layers, B, H), or (num_layers, H) for one sequence; optional
            What the step before returned, or `advance`. None = zeros.

        Returns
        -------
        y_t : numpy.ndarray, shape (B, output_size) or (output_size,)
            The head's outputs: logits for the two entropy losses.
        state : as the core's
            A new one; the given one is not modified.

        Raises
        ------
        ValueError, TypeError, IndexError
            If the core has two directions, the pooling is not "last", a shape or dtype does not
            fit, x_t is NaN or infinite, or a token is out of range.
        """
        self._refuse_streaming("step")
        h, state = self.core.step(self._read_step(x_t), state)
        if self.head is None:
            return h, state
        return self.head.run(np.ascontiguousarray(h)), state

    def advance(self, x: Any, state: Any = None, *, lengths: Any = None) -> tuple[Array, Any]:
        """Read some steps of a batch; return the outputs and the state to go on from.

        A sequence read in pieces, each from the state that the one before returned, gives the bits
        of the whole read at once. A core whose outputs feed back runs in closed loop.

        Parameters
        ----------
        x : array_like, shape (B, T, input_size), or integer tokens (B, T) with an embedding
            A list of B arrays (T_i, input_size) or (T_i,) is taken as well.
        state : as the core's, (num_layers, B, H), optional
            Where the sequences go on from. None = zeros.
        lengths : array_like of int, shape (B,), optional
            Valid steps of each sequence, in [0, T]; one of no steps keeps its state.

        Returns
        -------
        y : numpy.ndarray, shape (B, output_size), or (B, T, output_size) from ManyToMany
            The head's outputs. Zero beyond a sequence's end; of ManyToOne those behind its last
            valid step.
        state : as the core's, (num_layers, B, H)
            After the last valid step.

        Raises
        ------
        ValueError, TypeError, IndexError
            As `step`, or if a length does not fit.
        """
        self._refuse_streaming("advance")
        x, lengths = read_batch(x, lengths, self.core, self.embedding)
        state = self.core.read_state("state", state, len(x))
        if self.embedding is not None:
            x = self.embedding.run(np.ascontiguousarray(x))
        h, state, _ = self.core.run(x, state, lengths=lengths, batch_invariant=True)
        features = h if self.per_step else np.ascontiguousarray(last_ends(self.core, state))
        return self._outputs(features, lengths), state

    def _outputs(self, features: Array, lengths: Lengths | None) -> Array:
        """Return the head's outputs, each row's bits its own, with zeros behind an end."""
        y = features
        if self.head is not None:
            weight, bias = self.head.parameters["weight"], self.head.parameters.get("bias")
            y = linear(features, weight, bias, batch_invariant=True)
        return clear_padding(y, valid_steps(y.shape[1], lengths) if self.per_step else None)

    def _refuse_streaming(self, name: str) -> None:
        if self.core.bidirectional:
            raise ValueError(f"{name}: expected a core of one direction, got a bidirectional one")
        if self.pooling != "last":
            raise ValueError(f"{name}: expected a model with pooling='last', got {self.pooling!r}")

    def _read_step(self, x_t: Any) -> Array:
        """Return what the core reads of one step, (B, I) or (I,)."""
        if self.embedding is not None:
            tokens = checked_tokens("x_t", x_t, self.embedding.num_embeddings)
            if tokens.ndim > 1:
                raise ValueError(f"x_t: expected tokens (B,) or one token, got {tokens.shape}")
            return self.embedding.run(np.asarray(tokens, order="C"))
        x = as_array("x_t", x_t, self.core.dtype, contiguous=True)
        finite = np.isfinite(x)
        if not finite.all():
            refuse("x_t", x, ~finite, "finite numbers")
        return x
