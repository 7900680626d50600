"""ManyToOne: one output per sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import choice
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths, Seed
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.models.sequence_model import SequenceModel
from rnncore.models.states import gradient_of_state, last_ends


class ManyToOne(SequenceModel, loadable=True):
    """One output per sequence: a linear head on the last layer's hidden states, made one.

    Parameters
    ----------
    core : RNN, LSTM or GRU
        Recurrent layers with batch_first=True; they become part of the model.
    output_size : int
        Outputs of the head: numbers or classes to predict. Some losses need several for each
        target (`Loss.outputs_per_target`): "quantile" one for each level.
    loss : str, Loss or callable
        What `fit` minimises: the name of a function in `rnncore.losses`; an object such as
        ``losses.Huber(delta=2.0)``; or a function (y, target) -> (loss, dy) of your own, described
        at `losses.UserLoss`. The two entropies take the outputs as logits.
    embedding : Embedding, optional
        For integer tokens as input; its embedding_dim is the core's input_size.
    pooling : {"last", "mean", "max"}
        What the head sees: the state at the last valid step (with a bidirectional core both
        directions' ends, forward first), or each unit's mean or maximum over all valid steps.
        Mean and maximum of no step are 0.
    rng : int or numpy.random.Generator, optional
        For the head's initial values.

    Raises
    ------
    ValueError, TypeError
        If a part does not fit, or is already part of another model.
    """

    per_step = False

    def __init__(
        self,
        core: Recurrent[Any],
        output_size: int,
        *,
        loss: Any = "mean_squared_error",
        embedding: Embedding | None = None,
        pooling: str = "last",
        rng: Seed = None,
    ) -> None:
        self.pooling = choice("pooling", pooling, ("last", "mean", "max"))
        super().__init__(core, output_size, loss=loss, embedding=embedding, rng=rng)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {"pooling": (self.pooling, "last")}

    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        if self.pooling == "last":
            return last_ends(self.core, state), None
        valid = valid_steps(h.shape[1], lengths)
        if self.pooling == "max":
            return _maximum(h, valid)
        share = _share(h, valid)  # h is 0 in padding
        return h.sum(axis=1) * share[:, :, 0], (share, h.shape[1])

    def _features_gradient(self, kept: Any, dfeatures: Array) -> tuple[Array | None, Any]:
        if self.pooling == "last":
            return None, gradient_of_state(self.core, dfeatures)
        if self.pooling == "max":
            return _from_maximum(dfeatures, *kept), None
        share, steps = kept
        return np.repeat(dfeatures[:, None] * share, steps, axis=1), None  # padding is not read


def _share(h: Array, valid: Array | None) -> Array:
    """Return 1 / the valid steps of each sequence, (B, 1, 1); 0 for a sequence of none."""
    B, T, _ = h.shape
    steps = np.full(B, T) if valid is None else valid.sum(axis=1)
    share: Array = np.where(steps > 0, 1 / np.maximum(steps, 1), 0).astype(h.dtype)
    return share[:, None, None]


def _maximum(h: Array, valid: Array | None) -> tuple[Array, Any]:
    """Return the maxima over valid steps, (B, F); where they lie; which sequences have any."""
    B, T, F = h.shape
    some = np.asarray(np.full(B, T > 0) if valid is None else valid.any(axis=1))
    if T == 0:
        return np.zeros((B, F), h.dtype), (np.zeros((B, 1, F), np.int64), some, T)
    seen = h if valid is None else np.where(valid[:, :, None], h, h.dtype.type(-np.inf))
    at = seen.argmax(axis=1)[:, None]
    greatest = np.where(some[:, None], np.take_along_axis(seen, at, axis=1)[:, 0], 0)
    return greatest.astype(h.dtype, copy=False), (at, some, T)


def _from_maximum(dfeatures: Array, at: Array, some: Array, steps: int) -> Array:
    """Return dh (B, T, F): the gradient goes to where the maximum was."""
    dh = np.zeros((len(dfeatures), steps, dfeatures.shape[1]), dfeatures.dtype)
    if steps > 0:
        reached = np.where(some[:, None], dfeatures, dfeatures.dtype.type(0))
        np.put_along_axis(dh, at, reached[:, None], axis=1)
    return dh
