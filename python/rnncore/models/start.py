"""StartState: from a vector to the initial state of recurrent layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnncore._types import Array, Seed
from rnncore.layers import GRU, LSTM, RNN
from rnncore.layers.linear import Linear, LinearTape
from rnncore.module import Module, check_tape
from rnncore.state import LSTMState, as_state


def state_form(layer: RNN | LSTM | GRU) -> tuple[int, int, int]:
    """Return layers and, of one layer's state, the features of h and of c (0 without c)."""
    c = layer.hidden_size if isinstance(layer, LSTM) else 0
    return layer.num_layers, layer.proj_size or layer.hidden_size, c


@dataclass(eq=False, repr=False)
class StartTape:
    """What `StartState.backward` needs of one `forward`. Opaque; it may serve again."""

    used: ClassVar[bool] = False  # backward overwrites nothing
    owner: StartState
    linear: LinearTape
    s: Array  # (B, L*F + L*C)


class StartState(Module):
    """``s = tanh(W v + b)``, cut into h (L, B, F) and, for an LSTM, c (L, B, C) of the layers.

    F is H, or P with proj_size; s (B, L*F + L*C) holds h of all layers, then c.

    Parameters
    ----------
    vector_size : int
        F, features of v.
    core : RNN, LSTM or GRU
        Read for its sizes only.
    rng : int, numpy.random.Generator or None
        For the initial values.
    """

    def __init__(self, vector_size: int, core: RNN | LSTM | GRU, *, rng: Seed = None) -> None:
        super().__init__({}, core.dtype)
        self._form = layers, F, C = state_form(core)
        self._linear = Linear(vector_size, layers * (F + C), dtype=core.dtype, rng=rng)
        self._adopt({"linear": self._linear})

    def __call__(self, v: Array) -> Any:
        """Return the initial state for vectors (B, F)."""
        return self._cut(np.tanh(self._linear(v)))

    def forward(self, v: Array) -> tuple[Any, StartTape]:
        """Return the initial state and a tape for `backward`."""
        z, tape = self._linear.forward(v)
        s = np.tanh(z)
        return self._cut(s), StartTape(self, tape, s)

    def backward(self, tape: StartTape, dstate: Any, *, input_gradient: bool = True) -> Any:
        """Add the parameters' gradients into `grads`; return dv (B, F) or None."""
        check_tape(tape, StartTape, self)
        parts = dstate if isinstance(dstate, LSTMState) else (dstate,)
        ds = np.concatenate([d.swapaxes(0, 1).reshape(len(tape.s), -1) for d in parts], axis=1)
        dz = ds * (1 - tape.s**2)
        return self._linear.backward(tape.linear, dz, input_gradient=input_gradient)

    def _cut(self, s: Array) -> Any:
        layers, F, C = self._form
        h, c = np.split(s, [layers * F], axis=1)
        cut = [part.reshape(len(s), layers, -1).swapaxes(0, 1) for part in ((h, c) if C else (h,))]
        return as_state(cut[0], cut[1] if C else None)
