"""Embedding: a table of vectors, one for each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import (
    as_array,
    as_int64,
    as_integers,
    check_shape,
    generator,
    positive_int,
)
from rnncore._memory import empty
from rnncore._native.embedding import embedding_backward, embedding_forward
from rnncore._native.linear import rows
from rnncore._types import Array, Seed
from rnncore.init import check_scheme
from rnncore.module import Module, check_tape, constructor_text


@dataclass(eq=False, repr=False)
class EmbeddingTape:
    """What `Embedding.backward` needs of one `forward`. Opaque; refers to the indices."""

    used: ClassVar[bool] = False
    owner: Embedding
    indices: Array  # (...), int64


class Embedding(Module, loadable=True):
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
        source = generator(rng, "embedding")
        super().__init__({"weight": (self.num_embeddings, self.embedding_dim)}, dtype)
        weight = self.parameters["weight"]
        weight[...] = source.standard_normal(weight.shape, dtype=weight.dtype)

    def __call__(self, indices: Any) -> Array:
        """Return y; parameters and errors are those of `forward`."""
        return self.run(self._read(indices))

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
        return self.run(indices), EmbeddingTape(self, indices)

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
        self.run_backward(tape.indices, dy)

    def run(self, indices: Array) -> Array:
        """Return y of indices that are checked already: int64, C-contiguous, in range."""
        y = empty((*indices.shape, self.embedding_dim), self.dtype)
        embedding_forward(indices.reshape(-1), self.parameters["weight"], rows(y))
        return y

    def run_backward(self, indices: Array, dy: Array) -> None:
        """Add into `grads`: dweight[indices] += dy. Checks nothing."""
        embedding_backward(indices.reshape(-1), rows(dy), self.grads["weight"])

    def _read(self, indices: Any) -> Array:
        array = as_integers("indices", indices)
        if array.dtype.kind == "u" and array.size > 0 and array.max() >= self.num_embeddings:
            # checked here, since 2^63 and more would wrap round in int64
            at = int(array.reshape(-1).argmax())
            raise IndexError(
                f"indices: expected integers in [0, {self.num_embeddings}), "
                f"got {array.max()} at index {at}"
            )
        return as_int64(array)

    def __repr__(self) -> str:
        options = {"dtype": (self.dtype.name, "float32")}
        return constructor_text(self, (self.num_embeddings, self.embedding_dim), options)
