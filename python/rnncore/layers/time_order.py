"""Masking and Reversal: steps that are skipped, and steps read from a sequence's end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import check_lengths, choice, number
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers._parameterless import Parameterless, ParameterlessTape, read_steps
from rnncore.module import check_tape, constructor_text

SKIPPED = ("zeros", "repeat")


class Kept(NamedTuple):
    """Which steps of B sequences are read.

    Attributes
    ----------
    mask : numpy.ndarray of bool, (B, T)
        True where a step is read.
    lengths : numpy.ndarray of int64, (B,)
        How many are.
    at : numpy.ndarray of int64, (B, S)
        Where they lie, the first ones in front; behind a sequence's last one any step.
    """

    mask: Array
    lengths: Lengths
    at: Array

    @staticmethod
    def of(mask: Array) -> Kept:
        """Return the steps where a mask (B, T) is True."""
        lengths = mask.sum(axis=1, dtype=np.int64)
        order = np.argsort(~mask, axis=1, kind="stable")
        return Kept(mask, lengths, order[:, : int(lengths.max(initial=0))])

    def close_up(self, x: Array) -> Array:
        """Return the steps that are read, (B, S, ...), side by side."""
        at = self.at if x.ndim == 2 else self.at[:, :, None]
        return np.take_along_axis(x, at, axis=1)

    def close_up_gradient(self, dx: Array) -> Array:
        """Return the gradient of x (B, T, F) for that of `close_up`, 0 at what was skipped."""
        B, T = self.mask.shape
        full = np.zeros((B, T, dx.shape[2]), dx.dtype)
        valid = valid_steps(dx.shape[1], self.lengths)
        full[self.mask] = dx[valid]
        return full

    def spread(self, y: Array, skipped: str) -> Array:
        """Return y (B, S, F) at all T steps: at those skipped 0, or the y of the step before."""
        B, T = self.mask.shape
        full = np.zeros((B, T, y.shape[2]), y.dtype)
        there, at = self._sources(skipped)
        full[there] = y[at]
        return full

    def spread_gradient(self, dy: Array, skipped: str) -> Array:
        """Return the gradient of y (B, S, F) for that of `spread`."""
        dclosed = np.zeros((len(dy), self.at.shape[1], dy.shape[2]), dy.dtype)
        there, at = self._sources(skipped)
        np.add.at(dclosed, at, dy[there])
        return dclosed

    def _sources(self, skipped: str) -> tuple[Array, tuple[Array, Array]]:
        """Return which steps get an output (B, T), and where it is among the steps side by side."""
        before = np.cumsum(self.mask, axis=1) - 1  # the last one read up to each step; -1: none
        there = self.mask if skipped == "zeros" else before >= 0
        return there, (np.nonzero(there)[0], before[there])


class Masking(Parameterless, loadable=True):
    """Skip steps: recurrent layers behind it carry their state over them, as if they were not.

    A step is skipped where all of its features, or its token, are `value`: at the end, at the start
    or in the middle of a sequence. Called alone, it returns the mask. Where a
    `rnncore.Sequential` has outputs at every step, there is one at a skipped step too: what the
    layers behind the last recurrent one make of zeros, or of the step before.

    Parameters
    ----------
    value : float
        What marks a step; a token in front of an Embedding.
    skipped : {"zeros", "repeat"}
        What the last recurrent layer gives at a skipped step: zeros, or its output at the step
        before (zeros before the first one), which only goes with one direction.

    Raises
    ------
    TypeError, ValueError
        If the value is no number, or `skipped` none of the two.

    Notes
    -----
    As Keras' Masking, and its Embedding with mask_zero: a layer there repeats outputs, and a
    Bidirectional one gives zeros.
    """

    def __init__(self, value: float = 0.0, skipped: str = "zeros") -> None:
        super().__init__()
        self.value = number("value", value)
        self.skipped = choice("skipped", skipped, SKIPPED)

    def __call__(self, x: Any) -> Array:
        """Return the mask (B, T) of sequences (B, T, F): True where a step is read."""
        return self.mask(read_steps("x", x))

    def forward(self, x: Any) -> tuple[Array, ParameterlessTape]:
        """Return the mask, and a tape whose gradient is None: a mask has none."""
        mask = self(x)
        return mask, ParameterlessTape(self, mask.shape, None, np.dtype(np.float32))

    def backward(self, tape: ParameterlessTape, dy: Any, *, input_gradient: bool = True) -> None:
        """Check the tape; a mask has no gradient."""
        check_tape(tape, ParameterlessTape, self)

    def mask(self, x: Array) -> Array:
        """Return the mask (B, T) of features (B, T, F) or tokens (B, T)."""
        differs: Array = np.not_equal(x, x.dtype.type(self.value))
        return differs if x.ndim == 2 else np.asarray(differs.any(axis=2))

    def __repr__(self) -> str:
        options = {"value": (self.value, 0.0), "skipped": (self.skipped, "zeros")}
        return constructor_text(self, (), options)


class Reversal(Parameterless, loadable=True):
    """The valid steps of each sequence in reverse order; what lies behind them stays.

    Behind it a recurrent layer reads from the end, as Keras' layers with go_backwards.
    """

    def __init__(self) -> None:
        super().__init__()

    def __call__(self, x: Any, lengths: Any = None) -> Array:
        """Return y; parameters and errors are those of `forward`."""
        return self.forward(x, lengths)[0]

    def forward(self, x: Any, lengths: Any = None) -> tuple[Array, ParameterlessTape]:
        """Reverse the steps and keep the tape.

        Parameters
        ----------
        x : array_like, (B, T, F)
        lengths : array_like of int, (B,), optional
            Valid steps of each sequence, in [0, T].

        Returns
        -------
        y : numpy.ndarray, (B, T, F)
        tape : ParameterlessTape
            For `backward`.

        Raises
        ------
        TypeError, ValueError
            If x is of another rank or holds no real numbers, or a length does not fit.
        """
        x = read_steps("x", x)
        ends = check_lengths(lengths, x.shape[1], len(x))
        return self.run(x, ends), ParameterlessTape(self, x.shape, ends, x.dtype)

    def backward(self, tape: ParameterlessTape, dy: Any, *, input_gradient: bool = True) -> Any:
        """Return dx (B, T, F), or None without `input_gradient`."""
        check_tape(tape, ParameterlessTape, self)
        dy = tape.read_gradient(dy)
        return self.run(dy, tape.kept) if input_gradient else None

    def run(self, x: Array, lengths: Lengths | None) -> Array:
        """Return floats (B, T, F), or tokens (B, T), reversed; it is its own gradient."""
        if lengths is None:
            return np.ascontiguousarray(x[:, ::-1])
        steps = np.arange(x.shape[1])
        ends = lengths[:, None]
        at = np.where(steps < ends, ends - 1 - steps, steps)
        return np.take_along_axis(x, at if x.ndim == 2 else at[:, :, None], axis=1)

    def __repr__(self) -> str:
        return constructor_text(self, (), {})
