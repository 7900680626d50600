"""Bridge: from an encoder's final state to a decoder's initial one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnncore._arrays import Array, Seed
from rnncore._batch import as_state
from rnncore.dense import Linear, LinearTape
from rnncore.functional import LSTMState
from rnncore.layers import GRU, LSTM, RNN
from rnncore.models.base import core_features
from rnncore.module import Module, check_tape


def needs_bridge(encoder: RNN | LSTM | GRU, decoder: RNN | LSTM | GRU) -> bool:
    """Whether the encoder's final state is no initial state of the decoder as it is."""
    return encoder.bidirectional or _form(encoder) != _form(decoder)


def _form(layer: RNN | LSTM | GRU) -> tuple[int, int, int]:
    """Return layers and, of one layer's state, the features of h and of c."""
    c = layer.hidden_size if isinstance(layer, LSTM) else 0
    return layer.num_layers, core_features(layer), c


@dataclass(eq=False, repr=False)
class BridgeTape:
    """What `Bridge.backward` needs of one `forward`. Opaque; it may serve again."""

    used: ClassVar[bool] = False  # backward overwrites nothing
    owner: Bridge
    linear: LinearTape
    s: Array  # (B, L*(F + C))


class Bridge(Module):
    """``s = tanh(W h + b)``: h of the encoder's last layer to the states of all decoder layers.

    h (B, D*F) holds both directions' ends side by side; s (B, L*(F + C)) is cut into h and c of
    each layer of the decoder, C = 0 without c.

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
        super().__init__({}, encoder.dtype)
        self._directions = 2 if encoder.bidirectional else 1
        self._from, self._to = _form(encoder), _form(decoder)
        layers, *features = self._to
        sizes = self._directions * self._from[1], layers * sum(features)
        self._linear = Linear(*sizes, dtype=encoder.dtype, rng=rng)
        self._adopt({"linear": self._linear})

    def __call__(self, state: Any) -> Any:
        """Return the decoder's initial state for the encoder's final one."""
        return self._cut(np.tanh(self._linear(self._ends(state))))

    def forward(self, state: Any) -> tuple[Any, BridgeTape]:
        """Return the decoder's initial state and a tape for `backward`."""
        z, tape = self._linear.forward(self._ends(state))
        s = np.tanh(z)
        return self._cut(s), BridgeTape(self, tape, s)

    def backward(self, tape: BridgeTape, dstate: Any) -> Any:
        """Add the parameters' gradients into `grads`; return that of the encoder's state."""
        check_tape(tape, BridgeTape, self)
        both = np.concatenate(dstate, axis=2) if isinstance(dstate, LSTMState) else dstate
        ds = both.swapaxes(0, 1).reshape(tape.s.shape)
        dends = self._linear.backward(tape.linear, ds * (1 - tape.s**2))
        assert dends is not None
        D, B, (layers, F, C) = self._directions, len(tape.s), self._from
        dh_n = np.zeros((layers * D, B, F), self.dtype)
        dh_n[-D:] = dends.reshape(B, D, F).swapaxes(0, 1)
        return as_state(dh_n, np.zeros((layers * D, B, C), self.dtype) if C else None)

    def _ends(self, state: Any) -> Array:
        h_n = state.h if isinstance(state, LSTMState) else state
        return np.concatenate(list(h_n[-self._directions :]), axis=1)  # (B, D*F)

    def _cut(self, s: Array) -> Any:
        layers, F, C = self._to
        both = s.reshape(len(s), layers, F + C).swapaxes(0, 1)  # (L, B, F + C)
        return as_state(both[..., :F], both[..., F:] if C else None)
