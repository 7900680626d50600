"""Linear: y = x W^T + b."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import as_array, boolean, check_shape, generator, positive_int
from rnncore._memory import empty
from rnncore._native.linear import linear_backward, linear_forward, rows
from rnncore._types import Array, Seed
from rnncore.init import check_scheme, glorot_uniform, uniform
from rnncore.module import Module, check_tape, constructor_text


@dataclass(eq=False, repr=False)
class LinearTape:
    """What `Linear.backward` needs of one `forward`. Opaque; refers to x without a copy."""

    used: ClassVar[bool] = False  # backward overwrites nothing: any number of calls
    owner: Linear
    x: Array  # (..., I)


def linear(x: Array, weight: Array, bias: Array | None, *, batch_invariant: bool = False) -> Array:
    """Return y = x W^T + b, (..., O), of checked arrays: x C-contiguous (..., I), weight (O, I).

    With `batch_invariant` a row's bits do not depend on how many there are.
    """
    y = linear_forward(rows(x), weight, bias, batch_invariant=batch_invariant)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], len(weight))


def linear_gradients(
    x: Array,
    weight: Array,
    dy: Array,
    dweight: Array,
    dbias: Array | None,
    *,
    input_gradient: bool = True,
) -> Array | None:
    """Add into dweight and dbias; return dx, or None without `input_gradient`."""
    dx = empty(x.shape, x.dtype) if input_gradient else None
    into = None if dx is None else rows(dx)
    linear_backward(rows(x), weight, rows(dy), into, dweight, dbias)
    return dx


class Linear(Module, loadable=True):
    """y = x W^T + b.

    Parameters
    ----------
    input_size, output_size : int
        I and O, positive.
    bias : bool
        Whether there is a b.
    dtype : float32 or float64
        Of the parameters and of everything computed.
    rng : int, numpy.random.Generator or None
        For the initial values.
    init : {"default", "torch"}
        "default": weight Glorot uniform (Glorot and Bengio 2010), bias zero. "torch": both from
        U(+-1/sqrt(I)), as torch.nn.Linear.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        "weight" (O, I) and "bias" (O,).

    Raises
    ------
    TypeError, ValueError
        If a size is no positive integer or an option is not one of those above.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        self.input_size = positive_int("input_size", input_size)
        self.output_size = positive_int("output_size", output_size)
        self.bias = boolean("bias", bias)
        check_scheme(init)
        source = generator(rng, "linear")
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.output_size, self.input_size)}
        if self.bias:
            shapes["bias"] = (self.output_size,)
        super().__init__(shapes, dtype)
        if init == "torch":
            for array in self.parameters.values():
                uniform(source, array, self.input_size**-0.5)
        else:
            glorot_uniform(source, self.parameters["weight"])

    def __call__(self, x: Any) -> Array:
        """Return y; parameters and errors are those of `forward`."""
        return self.run(self._read(x))

    def forward(self, x: Any) -> tuple[Array, LinearTape]:
        """Compute y and keep the tape.

        Parameters
        ----------
        x : array_like, (..., I)
            Not modified; leave it unchanged until `backward`.

        Returns
        -------
        y : numpy.ndarray, (..., O)
        tape : LinearTape
            For `backward`.

        Raises
        ------
        TypeError
            If x holds no real numbers.
        ValueError
            If x's last dimension is not I.
        """
        x = self._read(x)
        return self.run(x), LinearTape(self, x)

    def backward(self, tape: LinearTape, dy: Any, *, input_gradient: bool = True) -> Array | None:
        """Add the gradients of the parameters into `grads`; return that of x.

        dW += dy^T x, db += sum of dy over all rows, dx = dy W.

        Parameters
        ----------
        tape : LinearTape
            From this layer's `forward`. It may serve again.
        dy : array_like, (..., O)
            Gradient with respect to y.
        input_gradient : bool
            False where dx is not needed: None is returned instead.

        Returns
        -------
        dx : numpy.ndarray, (..., I), or None

        Raises
        ------
        TypeError
            If `tape` is no LinearTape or dy holds no real numbers.
        ValueError
            If the tape is another layer's or dy's shape is not y's.
        """
        check_tape(tape, LinearTape, self)
        x = tape.x
        dy = as_array("dy", dy, self.dtype, contiguous=True)
        check_shape("dy", dy, "(..., O)", (*x.shape[:-1], self.output_size))
        return self.run_backward(x, dy, input_gradient=input_gradient)

    def run(self, x: Array) -> Array:
        """Return y of an array that is checked already: of the layer's dtype, C-contiguous."""
        return linear(x, self.parameters["weight"], self.parameters.get("bias"))

    def run_backward(self, x: Array, dy: Array, *, input_gradient: bool = True) -> Array | None:
        """Add into `grads`; return dx, or None without `input_gradient`. Checks nothing."""
        weight, gradient = self.parameters["weight"], self.grads["weight"]
        dbias = self.grads.get("bias")
        return linear_gradients(x, weight, dy, gradient, dbias, input_gradient=input_gradient)

    def _read(self, x: Any) -> Array:
        array = as_array("x", x, self.dtype, contiguous=True)
        if array.ndim == 0 or array.shape[-1] != self.input_size:
            raise ValueError(f"x: expected (..., I) with I = {self.input_size}, got {array.shape}")
        return array

    def __repr__(self) -> str:
        options = {"bias": (self.bias, True), "dtype": (self.dtype.name, "float32")}
        return constructor_text(self, (self.input_size, self.output_size), options)
