"""ManyToOne: one output per sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._arrays import Array
from rnncore.functional import LSTMState
from rnncore.layers import LSTM
from rnncore.models.core import CoreModel


class ManyToOne(CoreModel):
    """One output per sequence, from the last layer's final hidden state.

    ``y = head(h_n)``; with a bidirectional core h_n is both directions' ends side by side,
    forward first.

    Parameters
    ----------
    core : RNN, LSTM or GRU
        Recurrent layers with batch_first=True; they become part of the model.
    output_size : int
        Numbers or classes to predict.
    loss : {"mean_squared_error", "softmax_cross_entropy", "binary_cross_entropy"}
        What `fit` minimises; the two entropies take the outputs as logits.
    embedding : Embedding, optional
        For integer tokens as input; its embedding_dim is the core's input_size.
    rng : int or numpy.random.Generator, optional
        For the head's initial values.

    Raises
    ------
    ValueError, TypeError
        If a part does not fit, or is already part of another model.
    """

    per_step = False

    def _features(self, h: Array, state: Any) -> Array:
        h_n = state.h if isinstance(state, LSTMState) else state
        return np.concatenate(list(h_n[-self._directions :]), axis=1)  # (B, D*H)

    def _core_backward(self, tape: Any, dfeatures: Array, input_gradient: bool) -> Array | None:
        D, (B, size) = self._directions, dfeatures.shape
        dh_n = np.zeros((self.core.num_layers * D, B, size // D), self.dtype)
        dh_n[-D:] = dfeatures.reshape(B, D, size // D).swapaxes(0, 1)
        dstate = LSTMState(dh_n, np.zeros_like(dh_n)) if isinstance(self.core, LSTM) else dh_n
        dx: Array | None
        dx, _ = self.core.backward(tape, None, dstate, input_gradient=input_gradient)
        return dx
