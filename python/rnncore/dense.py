"""Linear and Embedding: what maps features and tokens on either side of the recurrent layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from rnncore._arrays import (
    Array,
    Seed,
    as_array,
    as_integers,
    boolean,
    check_shape,
    empty,
    generator,
    positive_int,
)
from rnncore._isa import core
from rnncore.init import check_scheme, glorot_uniform, uniform
from rnncore.module import Module, check_tape, constructor_text


@dataclass(eq=False, repr=False)
class LinearTape:
    """What `Linear.backward` needs of one `forward`. Opaque; refers to x without a copy."""

    used: ClassVar[bool] = False  # backward overwrites nothing: any number of calls
    owner: Linear
    x: Array  # (..., I)


@dataclass(eq=False, repr=False)
class EmbeddingTape:
    """What `Embedding.backward` needs of one `forward`. Opaque; refers to the indices."""

    used: ClassVar[bool] = False
    owner: Embedding
    indices: Array  # (...), int64


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return y = x W^T + b, (..., O), of checked arrays: x C-contiguous (..., I), weight (O, I)."""
    O, I = weight.shape  # noqa: E741
    lead, N = x.shape[:-1], math.prod(x.shape[:-1])
    y = empty((*lead, O), x.dtype)
    core.linear_forward(x.reshape(N, I), weight, bias, y.reshape(N, O))
    return y


def linear_backward(
    x: Array,
    weight: Array,
    dy: Array,
    dweight: Array,
    dbias: Array | None,
    input_gradient: bool = True,
) -> Array | None:
    """Add into dweight and dbias; return dx, or None without `input_gradient`."""
    O, I = weight.shape  # noqa: E741
    N = math.prod(x.shape[:-1])
    dx = empty(x.shape, x.dtype) if input_gradient else None
    dx_rows = None if dx is None else dx.reshape(N, I)
    core.linear_backward(x.reshape(N, I), weight, dy.reshape(N, O), dx_rows, dweight, dbias)
    return dx


class Linear(Module):
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
        source = generator(rng)
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
        return self._run(self._read(x))

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
        return self._run(x), LinearTape(self, x)

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
        weight, slope = self.parameters["weight"], self.grads["weight"]
        return linear_backward(x, weight, dy, slope, self.grads.get("bias"), input_gradient)

    def _read(self, x: Any) -> Array:
        array = as_array("x", x, self.dtype, contiguous=True)
        if array.ndim == 0 or array.shape[-1] != self.input_size:
            raise ValueError(f"x: expected (..., I) with I = {self.input_size}, got {array.shape}")
        return array

    def _run(self, x: Array) -> Array:
        return linear(x, self.parameters["weight"], self.parameters.get("bias"))

    def __repr__(self) -> str:
        options = {"bias": (self.bias, True), "dtype": (self.dtype.name, "float32")}
        return constructor_text(self, (self.input_size, self.output_size), options)


class Embedding(Module):
    """A table whose row i stands for token i.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        V rows of D features, positive.
    dtype : float32 or float64
        Of the table.
    rng : int, numpy.random.Generator or None
        For the initial values.
    init : {"default", "torch"}
        Both mean N(0, 1), as torch.nn.Embedding.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        "weight" (V, D).

    Raises
    ------
    TypeError, ValueError
        If a size is no positive integer or an option is not one of those above.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        self.num_embeddings = positive_int("num_embeddings", num_embeddings)
        self.embedding_dim = positive_int("embedding_dim", embedding_dim)
        check_scheme(init)
        source = generator(rng)
        super().__init__({"weight": (self.num_embeddings, self.embedding_dim)}, dtype)
        weight = self.parameters["weight"]
        weight[...] = source.standard_normal(weight.shape, dtype=weight.dtype)

    def __call__(self, indices: Any) -> Array:
        """Return y; parameters and errors are those of `forward`."""
        return self._run(self._read(indices))

    def forward(self, indices: Any) -> tuple[Array, EmbeddingTape]:
        """Look up y and keep the tape.

        Parameters
        ----------
        indices : array_like of int, (...)
            Tokens in [0, V). Not modified; leave them unchanged until `backward`.

        Returns
        -------
        y : numpy.ndarray, (..., D)
        tape : EmbeddingTape
            For `backward`.

        Raises
        ------
        TypeError
            If `indices` holds no integers.
        IndexError
            If a token is out of range; the message gives its position in the flattened indices.
        """
        indices = self._read(indices)
        return self._run(indices), EmbeddingTape(self, indices)

    def backward(self, tape: EmbeddingTape, dy: Any, *, input_gradient: bool = True) -> None:
        """Add the gradient of the table into `grads`: dweight[indices] += dy.

        Parameters
        ----------
        tape : EmbeddingTape
            From this layer's `forward`. It may serve again.
        dy : array_like, (..., D)
            Gradient with respect to y.
        input_gradient : bool
            For the layers' common form: tokens have no gradient, None is returned either way.

        Raises
        ------
        TypeError
            If `tape` is no EmbeddingTape or dy holds no real numbers.
        ValueError
            If the tape is another layer's or dy's shape is not y's.
        """
        check_tape(tape, EmbeddingTape, self)
        dy = as_array("dy", dy, self.dtype, contiguous=True)
        check_shape("dy", dy, "(..., D)", (*tape.indices.shape, self.embedding_dim))
        N = tape.indices.size
        core.embedding_backward(
            tape.indices.reshape(N), dy.reshape(N, self.embedding_dim), self.grads["weight"]
        )

    def _read(self, indices: Any) -> Array:
        array = as_integers("indices", indices)
        if array.dtype.kind == "u" and array.size > 0 and array.max() >= self.num_embeddings:
            # checked here, since 2^63 and more would wrap round in int64
            at = int(array.reshape(-1).argmax())
            raise IndexError(
                f"indices: expected integers in [0, {self.num_embeddings}), "
                f"got {array.max()} at index {at}"
            )
        return np.asarray(array, dtype=np.int64, order="C")

    def _run(self, indices: Array) -> Array:
        y = empty((*indices.shape, self.embedding_dim), self.dtype)
        N = indices.size
        core.embedding_forward(
            indices.reshape(N), self.parameters["weight"], y.reshape(N, self.embedding_dim)
        )
        return y

    def __repr__(self) -> str:
        options = {"dtype": (self.dtype.name, "float32")}
        return constructor_text(self, (self.num_embeddings, self.embedding_dim), options)
