"""InitialState: from a vector to the initial state of recurrent layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnncore._types import Array, Seed
from rnncore.layers import Recurrent
from rnncore.layers.linear import Linear
from rnncore.models.states import arrays_of, hidden_of
from rnncore.module import Module, check_tape


@dataclass(eq=False, repr=False)
class InitialStateTape:
    """What `InitialState.backward` needs of one `forward`. Opaque; it may serve again."""

    used: ClassVar[bool] = False  # backward overwrites nothing
    owner: InitialState
    v: Array  # (B, F)
    s: Array  # (B, all numbers of a state)


class InitialState(Module):
    """``s = tanh(W v + b)``, cut into the arrays (K, B, ...) of the layers' state: h, c of an LSTM.

    v is what a model starts from: a vector, or the ends of an encoder's last layer.

    Parameters
    ----------
    vector_size : int
        F, features of v.
    layer : RNN, LSTM or GRU
        Read for its sizes only.
    rng : int, numpy.random.Generator or None
        For the initial values.

    Notes
    -----
    Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder", appendix A.
    """

    def __init__(self, vector_size: int, layer: Recurrent[Any], *, rng: Seed = None) -> None:
        super().__init__({}, layer.dtype)
        zero = hidden_of(layer.initial_state(1))
        self._kind = type(zero)
        self._state_shapes = [(array.shape[0], array.shape[2]) for array in arrays_of(zero)]
        size = sum(map(math.prod, self._state_shapes))
        self._linear = Linear(vector_size, size, dtype=layer.dtype, rng=rng)
        self._adopt({"linear": self._linear})

    def __call__(self, v: Array) -> Any:
        """Return the initial state for vectors (B, F), C-contiguous, of the module's dtype."""
        return self._state(np.tanh(self._linear.run(v)))

    def forward(self, v: Array) -> tuple[Any, InitialStateTape]:
        """Return the initial state and a tape for `backward`."""
        s = np.tanh(self._linear.run(v))
        return self._state(s), InitialStateTape(self, v, s)

    def backward(
        self, tape: InitialStateTape, dstate: Any, *, input_gradient: bool = True
    ) -> Array | None:
        """Add the parameters' gradients into `grads`; return dv (B, F) or None."""
        check_tape(tape, InitialStateTape, self)
        B = len(tape.s)
        ds = np.concatenate([d.swapaxes(0, 1).reshape(B, -1) for d in arrays_of(dstate)], axis=1)
        dz = ds * (1 - tape.s**2)
        return self._linear.run_backward(tape.v, dz, input_gradient=input_gradient)

    def _state(self, s: Array) -> Any:
        """Cut s (B, ...) into the arrays of a state: h of all layers, then c of all layers."""
        ends = np.cumsum([math.prod(shape) for shape in self._state_shapes])[:-1]
        arrays = [
            np.ascontiguousarray(part.reshape(len(s), K, -1).swapaxes(0, 1))
            for part, (K, _) in zip(np.split(s, ends, axis=1), self._state_shapes, strict=True)
        ]
        return arrays[0] if len(arrays) == 1 else self._kind(*arrays)
