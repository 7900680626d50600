"""What a model reads: features, or tokens through an embedding, as an array or a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rnncore._checks import as_integers, as_real, check_lengths, refuse
from rnncore._memory import empty
from rnncore._ragged import is_ragged, read_sequences, valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.held import Held, HeldArray, HeldList


class TakesFeatures(Protocol):
    """A layer or model that reads features."""

    input_size: int
    dtype: np.dtype[Any]


INT64 = np.dtype(np.int64)


@dataclass(eq=False, slots=True)
class Inputs:
    """N sequences of a model's inputs, as the user gave them.

    Attributes
    ----------
    name : str
        Of the argument, for errors.
    values : HeldArray or HeldList
        Features (N, T, I) or (T_i, I); or tokens (N, T) or (T_i,).
    lengths : numpy.ndarray of int64, shape (N,), or None
        Valid steps; None where all are.
    vocabulary_size : int or None
        Tokens are in [0, vocabulary_size); None for features.
    """

    name: str
    values: Held
    lengths: Lengths | None
    vocabulary_size: int | None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def steps(self) -> int:
        """T, or the longest T_i."""
        return self.values.steps

    def refuse_none(self) -> None:
        """Raise ValueError unless there is one at least."""
        if len(self) == 0:
            got = self.describe().removeprefix("of ")
            raise ValueError(f"{self.name}: expected at least one sequence, got {got}")

    def describe(self) -> str:
        """Return what came, for errors."""
        if isinstance(self.values, HeldArray):
            return f"of shape {self.values.array.shape}"
        return f"a list of {len(self)}"

    def take(self, which: Choice, steps: int | None = None) -> tuple[Array, Lengths | None]:
        """Return the chosen sequences (B, S, I) or tokens (B, S), and their lengths.

        S is `steps`, or the longest of them. Behind an end there is a 0 for a token, and anything
        for features.
        """
        if self.lengths is None:
            return self.values.take(which), None
        lengths: Lengths = self.lengths[which]
        if steps is None:
            steps = int(lengths.max(initial=0))
        x = self.values.take(which, steps)
        if self.vocabulary_size is not None and isinstance(self.values, HeldArray):
            x = np.where(np.arange(steps) < lengths[:, None], x, 0)  # padding may hold anything
        return x, lengths

    def take_checked(self, which: slice, steps: int | None = None) -> tuple[Array, Lengths | None]:
        """As `take`, with the errors of `check` for these sequences."""
        x, lengths = self.take(which, steps)
        self._check(x, lengths, which)
        return x, lengths

    def check(self) -> None:
        """Look at every valid step of all sequences.

        Raises
        ------
        ValueError
            If a feature is NaN or infinite, in the dtype of the batches; the message says where.
        IndexError
            If a token is out of range.
        MemoryError
            If there are so many sequences that an order of them does not fit in memory.
        """
        empty((len(self),), INT64)
        for block in self.values.blocks():
            self.take_checked(block)

    def _check(self, x: Array, lengths: Lengths | None, which: slice) -> None:
        V, first = self.vocabulary_size, which.start or 0
        if V is not None:
            wrong = (x < 0) | (x >= V)
            if wrong.any():
                given = self.values.take(which, x.shape[1], as_given=True)
                refuse(self.name, given, wrong, f"tokens in [0, {V})", IndexError, first)
        elif not np.isfinite(x).all():
            wrong, valid = ~np.isfinite(x), valid_steps(x.shape[1], lengths)
            if valid is not None:
                wrong &= valid[:, :, None]
            refuse(self.name, x, wrong, "finite numbers", first=first)


def read_inputs(x: Any, lengths: Any, layer: TakesFeatures, embedding: Embedding | None) -> Inputs:
    """Return sequences of features for the layer, or of tokens for the embedding.

    Values are not looked at: that is for `Inputs.check`, or `take_checked`. Raises ValueError or
    TypeError for another shape or dtype, or lengths beside a list.
    """
    if embedding is not None:
        return read_tokens("x", x, lengths, embedding.num_embeddings)
    size, dtype = layer.input_size, layer.dtype
    if not is_ragged(x):
        return _read_array(x, lengths, layer)
    refuse_lengths(lengths)
    arrays, lengths = read_sequences("x", x)
    if arrays[0].ndim != 2 or arrays[0].shape[1] != size:
        raise ValueError(f"x[0]: expected (T_i, input_size) = (any, {size}), got {arrays[0].shape}")
    pairs = enumerate(zip(arrays, x, strict=True))
    arrays = [as_real(f"x[{i}]", array, dtype, given) for i, (array, given) in pairs]
    return Inputs("x", HeldList(arrays, lengths, dtype), lengths, None)


def _read_array(x: Any, lengths: Any, layer: TakesFeatures) -> Inputs:
    array, size = as_real("x", x, layer.dtype), layer.input_size
    if array.ndim != 3 or array.shape[2] != size:
        raise ValueError(f"x: expected (N, T, input_size) = (N, T, {size}), got {array.shape}")
    N, T, _ = array.shape
    return Inputs("x", HeldArray(array, layer.dtype), check_lengths(lengths, T, N), None)


def read_tokens(name: str, tokens: Any, lengths: Any, size: int) -> Inputs:
    """Return sequences of integers, which should be in [0, size); as `read_inputs` otherwise."""
    if not is_ragged(tokens):
        return _read_token_array(name, tokens, lengths, size)
    refuse_lengths(lengths)
    arrays, lengths = read_sequences(name, tokens)
    for i, array in enumerate(arrays):
        if array.ndim != 1:
            raise ValueError(f"{name}[{i}]: expected tokens (T_i,), got {array.shape}")
        if array.size > 0:
            as_integers(f"{name}[{i}]", array, "integer tokens")
    return Inputs(name, HeldList(arrays, lengths, INT64), lengths, size)


def _read_token_array(name: str, tokens: Any, lengths: Any, size: int) -> Inputs:
    array = as_integers(name, tokens, "integer tokens")
    if array.ndim != 2:
        raise ValueError(f"{name}: expected tokens (N, T), got {array.shape}")
    N, T = array.shape
    return Inputs(name, HeldArray(array, INT64), check_lengths(lengths, T, N), size)


def read_batch(
    x: Any, lengths: Any, layer: Recurrent[Any], embedding: Embedding | None
) -> tuple[Array, Lengths | None]:
    """Return one batch as (B, T, I) or tokens (B, T), all of it checked, and its lengths."""
    inputs = read_inputs(x, lengths, layer, embedding)
    return inputs.take_checked(slice(None), inputs.steps)


def refuse_lengths(lengths: Any, what: str = "sequences") -> None:
    """Raise ValueError for lengths beside a list."""
    if lengths is not None:
        raise ValueError(f"lengths: expected None with a list of {what}, got an array")


def read_vectors(x: Any, size: int, dtype: np.dtype[Any]) -> Inputs:
    """Return vectors (N, F); TypeError or ValueError for anything else."""
    array = as_real("x", x, dtype)
    if array.ndim != 2 or array.shape[1] != size:
        raise ValueError(f"x: expected (N, vector_size) = (N, {size}), got {array.shape}")
    return Inputs("x", HeldArray(array, dtype), None, None)


def checked_tokens(name: str, tokens: Any, size: int) -> Array:
    """Return integers as int64; TypeError for no integers, IndexError for one outside [0, size)."""
    array = as_integers(name, tokens, "integer tokens")
    refuse(name, array, (array < 0) | (array >= size), f"tokens in [0, {size})", IndexError)
    return np.asarray(array, INT64)


def clear_padding(array: Array, valid: Array | None) -> Array:
    """Return (B, T, D) with zeros behind each sequence's end; as it is where all is valid."""
    return array if valid is None else np.where(valid[:, :, None], array, array.dtype.type(0))


def predict_in_batches(
    inputs: Inputs,
    batch_size: int,
    per_step: bool,
    features: int,
    dtype: np.dtype[Any],
    run: Callable[[Array, Lengths | None, slice], Array],
) -> Any:
    """Return the outputs of all sequences, batch by batch.

    Parameters
    ----------
    inputs : Inputs
    batch_size : int
    per_step : bool
        Whether there are outputs at every step.
    features : int
        Of the outputs.
    dtype : numpy.dtype
    run : callable
        From x (B, S, ...), lengths and the batch's place to outputs (B, O) or (B, S, O).

    Returns
    -------
    y : numpy.ndarray, (N, O) or (N, T, O), zero behind each end; or list of (T_i, O)
    """
    N, ragged = len(inputs), per_step and isinstance(inputs.values, HeldList)
    rows: list[Array] = []
    y = np.empty((0 if ragged else N, *[inputs.steps] * per_step, features), dtype)
    for start in range(0, N, batch_size):
        part = slice(start, start + batch_size)
        x, lengths = inputs.take_checked(part)
        outputs = run(x, lengths, part)
        if ragged:
            assert lengths is not None
            rows += [row[:end].copy() for row, end in zip(outputs, lengths.tolist(), strict=True)]
        elif per_step:
            S = outputs.shape[1]
            y[part, :S] = clear_padding(outputs, valid_steps(S, lengths))
            y[part, S:] = 0
        else:
            y[part] = outputs
    return rows if ragged else y
