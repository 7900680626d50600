"""Bridge: from an encoder's final state to a decoder's initial one."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._types import Array, Seed
from rnncore.layers import GRU, LSTM, RNN
from rnncore.models.start import StartState, StartTape, state_form
from rnncore.state import LSTMState, as_state


def needs_bridge(encoder: RNN | LSTM | GRU, decoder: RNN | LSTM | GRU) -> bool:
    """Whether the encoder's final state is no initial state of the decoder as it is."""
    return encoder.bidirectional or state_form(encoder) != state_form(decoder)


class Bridge(StartState):
    """``s = tanh(W h + b)``: h of the encoder's last layer starts all layers of the decoder.

    h (B, D*F) holds both directions' ends side by side.

    Parameters
    ----------
    encoder, decoder : RNN, LSTM or GRU
        Read for their sizes only; both of one dtype.
    rng : int, numpy.random.Generator or None
        For the initial values.

    Notes
    -----
    Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder", appendix A.
    """

    def __init__(
        self, encoder: RNN | LSTM | GRU, decoder: RNN | LSTM | GRU, *, rng: Seed = None
    ) -> None:
        self._directions = 2 if encoder.bidirectional else 1
        self._from = state_form(encoder)
        super().__init__(self._directions * self._from[1], decoder, rng=rng)

    def __call__(self, state: Any) -> Any:
        """Return the decoder's initial state for the encoder's final one."""
        return super().__call__(self._ends(state))

    def forward(self, state: Any) -> tuple[Any, StartTape]:
        """Return the decoder's initial state and a tape for `backward`."""
        return super().forward(self._ends(state))

    def backward(self, tape: StartTape, dstate: Any, *, input_gradient: bool = True) -> Any:
        """Add the parameters' gradients into `grads`; return that of the encoder's state."""
        dends = super().backward(tape, dstate)
        D, B, (layers, F, C) = self._directions, len(tape.s), self._from
        dh_n = np.zeros((layers * D, B, F), self.dtype)
        dh_n[-D:] = dends.reshape(B, D, F).swapaxes(0, 1)
        return as_state(dh_n, np.zeros((layers * D, B, C), self.dtype) if C else None)

    def _ends(self, state: Any) -> Array:
        h_n = state.h if isinstance(state, LSTMState) else state
        return np.concatenate(list(h_n[-self._directions :]), axis=1)  # (B, D*F)
