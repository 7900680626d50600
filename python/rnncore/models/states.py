"""States of recurrent layers, as models read and make them: LSTMState(h, c), or h alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.layers import Recurrent
from rnncore.state import FeedbackState, LSTMState


def hidden_of(state: Any) -> Any:
    """Return the recurrent layers' state, without the outputs that feed back."""
    return state.hidden if isinstance(state, FeedbackState) else state


def arrays_of(state: Any) -> tuple[Array, ...]:
    """Return the state's arrays, each (K, B, features): h and, of an LSTM, c."""
    return tuple(state) if isinstance(state, tuple) else (state,)


def map_state(function: Callable[[Array], Array], state: Any) -> Any:
    """Return the state with a function applied to each of its arrays."""
    if isinstance(state, tuple):
        return type(state)(*map(function, state))
    return function(state)


def states_differ(encoder: Recurrent[Any], decoder: Recurrent[Any]) -> bool:
    """Whether the encoder's final state is no initial state of the decoder as it is."""
    shapes = [
        [array.shape for array in arrays_of(layer.initial_state(1))] for layer in (encoder, decoder)
    ]
    return encoder.bidirectional or shapes[0] != shapes[1]


def last_ends(layer: Recurrent[Any], state: Any) -> Array:
    """Return the final h of the last layer, both directions' side by side: (B, D*F)."""
    h, D = arrays_of(state)[0], layer.spec.directions
    return h[-1] if D == 1 else np.concatenate(list(h[-D:]), axis=1)


def gradient_of_state(layer: Recurrent[Any], dends: Array) -> Any:
    """Return the final state's gradient for that of `last_ends`: zero in all but the last layer.

    What is None in it counts as zeros too.
    """
    spec, (B, D) = layer.spec, (len(dends), layer.spec.directions)
    if spec.depth == 1:
        dh = dends[None]
    else:
        dh = np.zeros((spec.depth, B, spec.width), dends.dtype)
        dh[-D:] = dends.reshape(B, D, spec.width).swapaxes(0, 1)
    dc: Any = None
    return LSTMState(dh, dc) if spec.cell.has_c else dh
