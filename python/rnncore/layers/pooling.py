"""Pooling: one row out of a sequence: its last step, the mean or the maximum over its steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import check_lengths, choice
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers._parameterless import Parameterless, ParameterlessTape, read_steps
from rnncore.module import check_tape, constructor_text

KINDS = ("last", "mean", "max")


class Pooling(Parameterless, loadable=True):
    """From (B, T, F) to (B, F): each feature's value at the last valid step, mean or maximum.

    Of a sequence without a valid step all three are 0. In a `rnncore.Sequential`, "last" behind a
    recurrent layer takes both directions' ends: of the second one that is the sequence's start.

    Parameters
    ----------
    kind : {"last", "mean", "max"}

    Raises
    ------
    ValueError
        If the kind is another.
    """

    def __init__(self, kind: str = "last") -> None:
        super().__init__()
        self.kind = choice("kind", kind, KINDS)

    def __call__(self, x: Any, lengths: Any = None) -> Array:
        """Return y; parameters and errors are those of `forward`."""
        return self.forward(x, lengths)[0]

    def forward(self, x: Any, lengths: Any = None) -> tuple[Array, ParameterlessTape]:
        """Compute y and keep the tape.

        Parameters
        ----------
        x : array_like, (B, T, F)
        lengths : array_like of int, (B,), optional
            Valid steps of each sequence, in [0, T].

        Returns
        -------
        y : numpy.ndarray, (B, F)
        tape : ParameterlessTape
            For `backward`.

        Raises
        ------
        TypeError, ValueError
            If x is of another rank or holds no real numbers, or a length does not fit.
        """
        x = read_steps("x", x)
        ends = check_lengths(lengths, x.shape[1], len(x))
        valid = valid_steps(x.shape[1], ends)
        if valid is not None:
            x = np.where(valid[:, :, None], x, x.dtype.type(0))
        y, kept = pooled(self.kind, x, ends)
        return y, ParameterlessTape(self, y.shape, (kept, valid), y.dtype)

    def backward(self, tape: ParameterlessTape, dy: Any, *, input_gradient: bool = True) -> Any:
        """Return dx (B, T, F), or None without `input_gradient`; zero behind `lengths`."""
        check_tape(tape, ParameterlessTape, self)
        dy = tape.read_gradient(dy)
        if not input_gradient:
            return None
        kept, valid = tape.kept
        dx = pooled_gradient(self.kind, kept, dy)
        return dx if valid is None else dx * valid[:, :, None]

    def __repr__(self) -> str:
        return constructor_text(self, (repr(self.kind),), {})


def pooled(kind: str, h: Array, lengths: Lengths | None) -> tuple[Array, Any]:
    """Return y (B, F) of h (B, T, F), zero in padding, and what `pooled_gradient` needs."""
    B, T, _ = h.shape
    if kind == "last":
        steps = np.full(B, T) if lengths is None else lengths
        return _taken(h, np.maximum(steps - 1, 0)[:, None, None], steps > 0)
    valid = valid_steps(T, lengths)
    if kind == "max":
        return _maximum(h, valid)
    share = _share(h, valid)
    return h.sum(axis=1) * share[:, :, 0], (share, T)


def pooled_gradient(kind: str, kept: Any, dy: Array) -> Array:
    """Return dh (B, T, F), anything in padding."""
    if kind != "mean":
        return _into_place(dy, *kept)
    share, steps = kept
    return np.repeat(dy[:, None] * share, steps, axis=1)


def _share(h: Array, valid: Array | None) -> Array:
    """Return 1 / the valid steps of each sequence, (B, 1, 1); 0 for a sequence of none."""
    B, T, _ = h.shape
    steps = np.full(B, T) if valid is None else valid.sum(axis=1)
    share: Array = np.where(steps > 0, 1 / np.maximum(steps, 1), 0).astype(h.dtype)
    return share[:, None, None]


def _maximum(h: Array, valid: Array | None) -> tuple[Array, Any]:
    """Return the maxima over valid steps, (B, F); where they lie; which sequences have any."""
    B, T, _ = h.shape
    some = np.asarray(np.full(B, T > 0) if valid is None else valid.any(axis=1))
    if T == 0:
        return _taken(h, np.zeros((B, 1, h.shape[2]), np.int64), some)
    seen = h if valid is None else np.where(valid[:, :, None], h, h.dtype.type(-np.inf))
    return _taken(h, seen.argmax(axis=1)[:, None], some)


def _taken(h: Array, at: Array, some: Array) -> tuple[Array, Any]:
    """Return h at the given steps, at (B, 1, F or 1), or 0 where there is none; and the rest."""
    B, T, F = h.shape
    at = np.broadcast_to(at, (B, 1, F))
    if T == 0:
        return np.zeros((B, F), h.dtype), (at, some, T)
    found = np.where(some[:, None], np.take_along_axis(h, at, axis=1)[:, 0], h.dtype.type(0))
    return found, (at, some, T)


def _into_place(dy: Array, at: Array, some: Array, steps: int) -> Array:
    """Return dh (B, T, F): the gradient goes to where the value was."""
    dh = np.zeros((len(dy), steps, dy.shape[1]), dy.dtype)
    if steps > 0:
        reached = np.where(some[:, None], dy, dy.dtype.type(0))
        np.put_along_axis(dh, at, reached[:, None], axis=1)
    return dh
