"""What a model reads: features, or tokens through an embedding, as an array or a list."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import as_array, as_integers, check_lengths, refuse
from rnncore._ragged import is_ragged, read_sequences, side_by_side, valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding


def read_inputs(
    x: Any, lengths: Any, layer: Recurrent[Any], embedding: Embedding | None
) -> tuple[Array, Lengths | None]:
    """Return x as (N, T, I) in the layer's dtype, or as tokens (N, T), and the lengths.

    Raises ValueError or TypeError for another shape or dtype, or lengths beside a list;
    IndexError for a token out of range.
    """
    if is_ragged(x):
        if lengths is not None:
            raise ValueError("lengths: expected None with a list of sequences, got an array")
        arrays, lengths = read_sequences("x", x)
        x = side_by_side(arrays, int(lengths.max()))
    return read_array(x, lengths, layer, embedding)


def read_array(
    x: Any, lengths: Any, layer: Recurrent[Any], embedding: Embedding | None
) -> tuple[Array, Lengths | None]:
    """Return an array (N, T, I) or tokens (N, T) as `read_inputs` does."""
    if embedding is None:
        x, size = as_array("x", x, layer.dtype), layer.input_size
        if x.ndim != 3 or x.shape[2] != size:
            raise ValueError(f"x: expected (N, T, input_size) = (N, T, {size}), got {x.shape}")
        return x, check_lengths(lengths, x.shape[1], x.shape[0])
    x = as_integers("x", x, "integer tokens")
    if x.ndim != 2:
        raise ValueError(f"x: expected tokens (N, T), got {x.shape}")
    lengths = check_lengths(lengths, x.shape[1], x.shape[0])
    valid = valid_steps(x.shape[1], lengths)
    return checked_tokens("x", x, embedding.num_embeddings, valid), lengths


def checked_tokens(name: str, tokens: Any, size: int, valid: Array | None = None) -> Array:
    """Return integers as int64, each in [0, size) where `valid`; elsewhere 0.

    TypeError for no integers, IndexError for one out of range.
    """
    array = as_integers(name, tokens, "integer tokens")
    array = array if valid is None else np.where(valid, array, 0)  # padding may hold anything
    refuse(name, array, (array < 0) | (array >= size), f"tokens in [0, {size})", IndexError)
    return np.asarray(array, np.int64)


def clear_padding(array: Array, valid: Array | None) -> Array:
    """Return (B, T, D) with zeros behind each sequence's end; as it is where all is valid."""
    return array if valid is None else np.where(valid[:, :, None], array, array.dtype.type(0))
