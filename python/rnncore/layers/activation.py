"""Activation: a function of each number, or the softmax of each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import choice, number
from rnncore._types import Array
from rnncore.layers._parameterless import Parameterless, ParameterlessTape, read_floats
from rnncore.module import check_tape, constructor_text


class Pointwise(NamedTuple):
    """A function f(x, *numbers) and its derivative f'(x, y, *numbers), y = f(x)."""

    function: Callable[..., Array]
    derivative: Callable[..., Array]
    numbers: tuple[float, ...] = ()  # alpha and beta, where there are any: ONNX's defaults


def _sigmoid(x: Array) -> Array:
    half = x.dtype.type(0.5)
    y: Array = half * (1 + np.tanh(half * x))
    return y


def _softplus(x: Array) -> Array:
    y: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y


POINTWISE: dict[str, Pointwise] = {
    "identity": Pointwise(lambda x: x, lambda x, y: np.ones_like(x)),
    "tanh": Pointwise(np.tanh, lambda x, y: 1 - y * y),
    "sigmoid": Pointwise(_sigmoid, lambda x, y: y * (1 - y)),
    "relu": Pointwise(lambda x: np.maximum(x, 0), lambda x, y: x > 0),
    "affine": Pointwise(lambda x, a, b: a * x + b, lambda x, y, a, b: np.full_like(x, a), (1, 0)),
    "leaky_relu": Pointwise(
        lambda x, a: np.where(x < 0, a * x, x), lambda x, y, a: np.where(x < 0, a, 1), (0.01,)
    ),
    "thresholded_relu": Pointwise(
        lambda x, a: np.where(x > a, x, 0), lambda x, y, a: x > a, (1.0,)
    ),
    "scaled_tanh": Pointwise(
        lambda x, a, b: a * np.tanh(b * x),
        lambda x, y, a, b: a * b * (1 - np.tanh(b * x) ** 2),
        (1.0, 1.0),
    ),
    "hard_sigmoid": Pointwise(
        lambda x, a, b: np.clip(a * x + b, 0, 1),
        lambda x, y, a, b: np.where((y > 0) & (y < 1), a, 0),
        (0.2, 0.5),
    ),
    "elu": Pointwise(
        lambda x, a: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
        lambda x, y, a: np.where(x < 0, a * np.exp(np.minimum(x, 0)), 1),
        (1.0,),
    ),
    "softsign": Pointwise(
        lambda x: x / (1 + np.abs(x)), lambda x, y: (1 - np.abs(y)) ** 2
    ),
    "softplus": Pointwise(_softplus, lambda x, y: _sigmoid(x)),
}  # fmt: skip
NAMES = (*POINTWISE, "softmax")


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
        In place of the numbers above, which are ONNX's.

    Raises
    ------
    TypeError, ValueError
        If there is no such function, or it has no such number.

    Notes
    -----
    affine(x) = alpha x + beta; leaky_relu(x) = alpha x below 0; elu(x) = alpha (e^x - 1) below 0;
    thresholded_relu(x) = x above alpha, else 0; scaled_tanh(x) = alpha tanh(beta x);
    hard_sigmoid(x) = alpha x + beta, cut to [0, 1]; softsign(x) = x / (1 + |x|).
    """

    def __init__(self, name: str, alpha: float | None = None, beta: float | None = None) -> None:
        super().__init__()
        self.name = choice("name", name, NAMES)
        usual = POINTWISE[name].numbers if name in POINTWISE else ()
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
        return self.run(read_floats("x", x))

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
        x = read_floats("x", x)
        y = self.run(x)
        return y, ParameterlessTape(self, y.shape, (x, y), y.dtype)

    def backward(self, tape: ParameterlessTape, dy: Any, *, input_gradient: bool = True) -> Any:
        """Return dx (..., F), or None without `input_gradient`; errors as of `Linear.backward`."""
        check_tape(tape, ParameterlessTape, self)
        dy = tape.read_gradient(dy)
        x, y = tape.kept
        return self.run_backward(x, y, dy) if input_gradient else None

    def run(self, x: Array) -> Array:
        """Return y of floats, which are not looked at."""
        if self.name == "softmax":
            return softmax(x)
        y: Array = POINTWISE[self.name].function(x, *self._numbers)
        return y.astype(x.dtype, copy=False)

    def run_backward(self, x: Array, y: Array, dy: Array) -> Array:
        """Return dx."""
        dx: Array
        if self.name == "softmax":
            dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
            return dx
        dx = dy * POINTWISE[self.name].derivative(x, y, *self._numbers)
        return dx.astype(x.dtype, copy=False)

    def __repr__(self) -> str:
        usual = (*self._usual, None, None)
        options = {"alpha": (self.alpha, usual[0]), "beta": (self.beta, usual[1])}
        return constructor_text(self, (repr(self.name),), options)
