"""Merging: two directions' outputs made one: their sum, mean or product."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import choice
from rnncore._types import Array
from rnncore.layers._parameterless import Parameterless, ParameterlessTape, read_floats
from rnncore.module import check_tape, constructor_text

MODES = ("sum", "mean", "product")


class Merging(Parameterless, loadable=True):
    """From (..., 2 F) to (..., F): the first half of the features and the second, made one.

    Behind a bidirectional layer: its two directions.

    Parameters
    ----------
    mode : {"sum", "mean", "product"}

    Raises
    ------
    ValueError
        If the mode is another.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = choice("mode", mode, MODES)

    def __call__(self, x: Any) -> Array:
        """Return y; parameters and errors are those of `forward`."""
        return self.run(self._read(x))

    def forward(self, x: Any) -> tuple[Array, ParameterlessTape]:
        """Compute y and keep the tape.

        Parameters
        ----------
        x : array_like, (..., 2 F)

        Returns
        -------
        y : numpy.ndarray, (..., F)
        tape : ParameterlessTape
            For `backward`.

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, or an odd number of features.
        """
        x = self._read(x)
        y = self.run(x)
        return y, ParameterlessTape(self, y.shape, x, y.dtype)

    def backward(self, tape: ParameterlessTape, dy: Any, *, input_gradient: bool = True) -> Any:
        """Return dx (..., 2 F), or None without `input_gradient`."""
        check_tape(tape, ParameterlessTape, self)
        dy = tape.read_gradient(dy)
        return self.run_backward(tape.kept, dy) if input_gradient else None

    def run(self, x: Array) -> Array:
        """Return y of floats, which are not looked at."""
        a, b = np.split(x, 2, axis=-1)
        y: Array = a * b if self.mode == "product" else a + b
        if self.mode == "mean":
            y *= x.dtype.type(0.5)
        return y

    def run_backward(self, x: Array, dy: Array) -> Array:
        """Return dx."""
        if self.mode == "product":
            a, b = np.split(x, 2, axis=-1)
            return np.concatenate([dy * b, dy * a], axis=-1)
        dx = np.concatenate([dy, dy], axis=-1)
        if self.mode == "mean":
            dx *= dx.dtype.type(0.5)
        return dx

    def _read(self, x: Any) -> Array:
        array = read_floats("x", x)
        if array.ndim == 0 or array.shape[-1] % 2:
            raise ValueError(f"x: expected (..., 2 F), two halves of features, got {array.shape}")
        return array

    def __repr__(self) -> str:
        return constructor_text(self, (repr(self.mode),), {})
