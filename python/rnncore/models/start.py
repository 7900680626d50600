"""StartState: from a vector to the initial state of recurrent layers."""

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


@dataclass(eq=False, repr=False)
class StartTape:
    """What `StartState.backward` needs of one `forward`. Opaque; it may serve again."""

    used: ClassVar[bool] = False  # backward overwrites nothing
    owner: StartState
    linear: LinearTape
    s: Array  # (B, parts*L*H)


class StartState(Module):
    """``s = tanh(W v + b)``, cut into the layers' h (L, B, H) and, for an LSTM, their c.

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
        self._to = (2 if isinstance(core, LSTM) else 1, core.num_layers, core.hidden_size)
        size = int(np.prod(self._to))
        self._linear = Linear(vector_size, size, dtype=core.dtype, rng=rng)
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
        parts = list(dstate) if isinstance(dstate, LSTMState) else [dstate]
        ds = np.stack(parts).transpose(2, 0, 1, 3).reshape(tape.s.shape)  # (B, parts*L*H)
        dz = ds * (1 - tape.s**2)
        return self._linear.backward(tape.linear, dz, input_gradient=input_gradient)

    def _cut(self, s: Array) -> Any:
        parts = s.reshape(len(s), *self._to).transpose(1, 2, 0, 3)  # (parts, L, B, H)
        h, *c = (np.ascontiguousarray(part) for part in parts)
        return as_state(h, c[0] if c else None)
