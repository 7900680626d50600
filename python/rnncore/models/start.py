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
    s: Array  # (B, L*H), with c (B, 2*L*H)


class StartState(Module):
    """``s = tanh(W v + b)``, cut into the layers' h (L, B, H) and, for an LSTM, their c.

    With proj_size P the layers' h is (L, B, P).

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
        sizes = [core.proj_size or core.hidden_size]
        if isinstance(core, LSTM):
            sizes.append(core.hidden_size)
        self._sizes, self._layers = sizes, core.num_layers  # of h and c
        size = sum(sizes) * core.num_layers
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
        rows = [part.transpose(1, 0, 2).reshape(len(tape.s), -1) for part in parts]
        ds = np.concatenate(rows, axis=1)
        dz = ds * (1 - tape.s**2)
        return self._linear.backward(tape.linear, dz, input_gradient=input_gradient)

    def _cut(self, s: Array) -> Any:
        L, (width, *_) = self._layers, self._sizes
        h, *c = (
            np.ascontiguousarray(part.reshape(len(s), L, part.shape[1] // L).transpose(1, 0, 2))
            for part in np.split(s, [L * width], axis=1)
            if part.shape[1] > 0
        )
        return as_state(h, c[0] if c else None)
