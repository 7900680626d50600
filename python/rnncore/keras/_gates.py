"""A recurrent layer's arrays as Keras has them, made rnncore's, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnncore._types import Array

# For each of our blocks of H rows, Keras' block of H columns: ours are r z n of a GRU, where Keras
# has z r h, and i f g o of an LSTM, where it has i f c o. Each order is its own inverse.
BLOCKS = {"SimpleRNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 1, 2, 3)}


def to_ours(kind: str, arrays: Sequence[Array]) -> dict[str, Array]:
    """Return weight_ih, weight_hh and, with biases, bias_ih and bias_hh.

    Parameters
    ----------
    kind : {"SimpleRNN", "GRU", "LSTM"}
    arrays : kernel (I, G*H), recurrent kernel (H, G*H) and, with biases, bias
        (G*H,), or (2, G*H) of a GRU with reset_after: one for x, one for h.
    """
    kernel, recurrent, *bias = arrays
    found = {"weight_ih": _blocks(kind, kernel).T, "weight_hh": _blocks(kind, recurrent).T}
    if bias:
        own = _blocks(kind, bias[0])
        both = own if own.ndim == 2 else np.stack([own, np.zeros_like(own)])
        found |= {"bias_ih": both[0], "bias_hh": both[1]}
    return found


def to_keras_arrays(kind: str, ours: Mapping[str, Array], two_biases: bool) -> list[Array]:
    """Return kernel, recurrent kernel and, where there are biases, bias: what `to_ours` takes.

    Where Keras has one bias it is the sum of both.
    """
    found = [_blocks(kind, ours["weight_ih"].T), _blocks(kind, ours["weight_hh"].T)]
    if "bias_ih" in ours:
        both = [_blocks(kind, ours[name]) for name in ("bias_ih", "bias_hh")]
        found.append(np.stack(both) if two_biases else both[0] + both[1])
    return found


def _blocks(kind: str, array: Array) -> Array:
    """Return an array (..., G*H) with its blocks in the other order."""
    order = BLOCKS[kind]
    blocks = array.reshape(*array.shape[:-1], len(order), -1)
    return blocks[..., order, :].reshape(array.shape)
