"""Activation: a function of each number, or the softmax of each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import choice, number
from rnncore._native.cells import GateFunction
from rnncore._native.functions import FUNCTIONS, apply_function
from rnncore._types import Array
from rnncore.layers._parameterless import Parameterless, ParameterlessTape, read_floats
from rnncore.module import check_tape, constructor_text

NAMES = ("identity", *FUNCTIONS, "softmax")


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = e / e.sum(axis=-1, keepdims=True)
    return result


class Activation(Parameterless, loadable=True):
    """y = f(x), for every number of x; "softmax" for every row, over the last axis.

    Parameters
    ----------
    name : str
        "identity", "tanh", "sigmoid", "relu", "softplus", "softsign", "softmax"; "leaky_relu"
        (alpha 0.01), "elu" (alpha 1), "thresholded_relu" (alpha 1); "affine" (alpha 1, beta 0),
        "scaled_tanh" (alpha 1, beta 1), "hard_sigmoid" (alpha 0.2, beta 0.5).
    alpha, beta : float, optional
        In place of the numbers above, which are ONNX's; it has none for "scaled_tanh".

    Raises
    ------
    TypeError, ValueError
        If there is no such function, or it has no such number.

    Notes
    -----
    affine(x) = alpha x + beta; leaky_relu(x) = alpha x below 0; elu(x) = alpha (e^x - 1) below 0;
    thresholded_relu(x) = x above alpha, else 0; scaled_tanh(x) = alpha tanh(beta x);
    hard_sigmoid(x) = alpha x + beta, cut to [0, 1]; softsign(x) = x / (1 + abs(x)).
    """

    def __init__(self, name: str, alpha: float | None = None, beta: float | None = None) -> None:
        super().__init__()
        self.name = choice("name", name, NAMES)
        usual = FUNCTIONS.get(name, ())
        given = []
        for i, (argument, value) in enumerate((("alpha", alpha), ("beta", beta))):
            if value is not None and i >= len(usual):
                raise ValueError(f"{argument}: expected None for {name!r}, got {value!r}")
            if i < len(usual):
                given.append(usual[i] if value is None else number(argument, value))
        self._numbers = tuple(given)
        self._usual = usual

    @property
    def alpha(self) -> float | None:
        """The first number of the function; None without any."""
        return self._numbers[0] if self._numbers else None

    @property
    def beta(self) -> float | None:
        """The second number of the function; None without one."""
        return self._numbers[1] if len(self._numbers) > 1 else None

    def __call__(self, x: Any) -> Array:
        """Return y; parameters and errors are those of `forward`."""
        return self.forward(x)[0]

    def forward(self, x: Any) -> tuple[Array, ParameterlessTape]:
        """Compute y and keep the tape.

        Parameters
        ----------
        x : array_like, (..., F)
            Computed in float64 if it is that, else in float32.

        Returns
        -------
        y : numpy.ndarray, (..., F)
        tape : ParameterlessTape
            For `backward`.

        Raises
        ------
        TypeError
            If x holds no real numbers.
        """
        y, kept = self.run_forward(read_floats("x", x))
        return y, ParameterlessTape(self, y.shape, kept, y.dtype)

    def backward(self, tape: ParameterlessTape, dy: Any, *, input_gradient: bool = True) -> Any:
        """Return dx (..., F), or None without `input_gradient`; errors as of `Linear.backward`."""
        check_tape(tape, ParameterlessTape, self)
        dy = tape.read_gradient(dy)
        return self.run_backward(tape.kept, dy) if input_gradient else None

    def run_forward(self, x: Array) -> tuple[Array, Array | None]:
        """Return y of floats, which are not looked at, and what `run_backward` needs."""
        if self.name == "softmax":
            y = softmax(x)
            return y, y
        if self.name == "identity":
            return x, None
        return apply_function(GateFunction(self.name, *self._numbers), x)

    def run_backward(self, kept: Array | None, dy: Array) -> Array:
        """Return dx; `kept` is y of the softmax, dy/dx of a function, None of the identity."""
        dx: Array
        if kept is None:
            dx = dy.copy()
        elif self.name == "softmax":
            dx = kept * (dy - (dy * kept).sum(axis=-1, keepdims=True))
        else:
            dx = dy * kept
        return dx

    def __repr__(self) -> str:
        usual = (*self._usual, None, None)
        options = {"alpha": (self.alpha, usual[0]), "beta": (self.beta, usual[1])}
        return constructor_text(self, (repr(self.name),), options)
