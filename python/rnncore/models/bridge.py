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
from rnncore.module import Module, check_tape


def needs_bridge(encoder: RNN | LSTM | GRU, decoder: RNN | LSTM | GRU) -> bool:
    """Whether the encoder's final state is no initial state of the decoder as it is."""
    return encoder.bidirectional or _form(encoder) != _form(decoder)


def _form(layer: RNN | LSTM | GRU) -> tuple[int, int, bool]:
    return layer.num_layers, layer.hidden_size, isinstance(layer, LSTM)


@dataclass(eq=False, repr=False)
class BridgeTape:
    """What `Bridge.backward` needs of one `forward`. Opaque; it may serve again."""

    used: ClassVar[bool] = False  # backward overwrites nothing
    owner: Bridge
    linear: LinearTape
    s: Array  # (B, parts*L*H)


class Bridge(Module):
    """``s = tanh(W h + b)``: h of the encoder's last layer to the states of all decoder layers.

    h (B, D*H_e) holds the ends of each direction side by side; s (B, parts*L*H_d) is cut into
    the decoder's h and, for an LSTM, c (then parts = 2).

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
        self._from = (encoder.num_layers * self._directions, encoder.hidden_size)
        self._from_lstm = isinstance(encoder, LSTM)
        parts = 2 if isinstance(decoder, LSTM) else 1
        self._to = (parts, decoder.num_layers, decoder.hidden_size)
        sizes = self._directions * encoder.hidden_size, int(np.prod(self._to))
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
        dparts = np.stack(dstate) if isinstance(dstate, LSTMState) else dstate[None]
        ds = dparts.transpose(2, 0, 1, 3).reshape(tape.s.shape)
        dends = self._linear.backward(tape.linear, ds * (1 - tape.s**2))
        assert dends is not None
        D, (K, H), B = self._directions, self._from, len(tape.s)
        dh_n = np.zeros((K, B, H), self.dtype)
        dh_n[-D:] = dends.reshape(B, D, H).swapaxes(0, 1)
        return as_state(dh_n, np.zeros_like(dh_n) if self._from_lstm else None)

    def _ends(self, state: Any) -> Array:
        h_n = state.h if isinstance(state, LSTMState) else state
        return np.concatenate(list(h_n[-self._directions :]), axis=1)  # (B, D*H_e)

    def _cut(self, s: Array) -> Any:
        parts = s.reshape(len(s), *self._to).transpose(1, 2, 0, 3)  # (parts, L, B, H_d)
        return as_state(*map(np.ascontiguousarray, parts), *[None] * (2 - len(parts)))
