"""One layer in one direction: allocates what a kernel writes and calls it. Checks nothing.

The kernels get their options by position: the binding takes 0.3 us for a keyword.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnncore._memory import aligned_empty, zeros
from rnncore._native.cells import Cell
from rnncore._native.isa import core
from rnncore._types import Array, Lengths


class Weights(tuple[Any, ...]):
    """Parameters of one layer in one direction, or their gradients, in one flat tuple.

    Attributes
    ----------
    weight_ih : numpy.ndarray, (G*H, I)
        W, from the input; G blocks of H rows in torch's gate order (LSTM i f g o, with coupled
        gates i g o; GRU r z n; RNN one).
    weight_hh : numpy.ndarray, (G*H, H), or None
        R, from the previous h; None in a layer without hidden recurrence.
    bias_ih, bias_hh : numpy.ndarray, (G*H,), or None
        Both or none of them.
    unit_parameters : tuple of numpy.ndarray, (rows, H) each
        All that stand behind bias_hh: the cell's own. Peepholes have the rows i f o, with coupled
        gates i o.
    """

    __slots__ = ()
    _fields = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def __new__(
        cls,
        weight_ih: Array,
        weight_hh: Array | None,
        bias_ih: Array | None = None,
        bias_hh: Array | None = None,
        *unit_parameters: Array,
    ) -> Weights:
        return super().__new__(cls, (weight_ih, weight_hh, bias_ih, bias_hh, *unit_parameters))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    @property
    def weight_ih(self) -> Array:
        weight_ih: Array = self[0]
        return weight_ih

    @property
    def weight_hh(self) -> Array | None:
        weight_hh: Array | None = self[1]
        return weight_hh

    @property
    def bias_ih(self) -> Array | None:
        bias_ih: Array | None = self[2]
        return bias_ih

    @property
    def bias_hh(self) -> Array | None:
        bias_hh: Array | None = self[3]
        return bias_hh

    @property
    def unit_parameters(self) -> tuple[Array, ...]:
        return self[4:]

    @staticmethod
    def of(cell: Cell, arrays: Mapping[str, Any]) -> Weights:
        """Sort arrays by name; of the common ones all but weight_ih may be missing."""
        common: list[Any] = [arrays.get(name) for name in Weights._fields]
        return Weights(*common, *(arrays[name] for name in cell.unit_parameters))

    def named(self, cell: Cell) -> dict[str, Array | None]:
        """Return every array by its name."""
        return dict(zip((*Weights._fields, *cell.unit_parameters), self, strict=True))

    def _replace(self, **arrays: Array | None) -> Weights:
        """Return a copy with other common arrays, as of a named tuple."""
        common = dict(zip(Weights._fields, self, strict=False)) | arrays
        return Weights(*common.values(), *self.unit_parameters)


class Feedback(NamedTuple):
    """Values fed back, known beforehand, and the weights U that they meet; or gradients of both."""

    fed: Array | None  # (T, B, F)
    weight_oh: Array | None  # (G*H, F)


class Resets(NamedTuple):
    """Where sequences are cut: the state before such a step is the initial one."""

    before: Array  # bool (T, B), C-contiguous
    to: str  # one of RESET_TO: zeros, or the given state


class Noise(NamedTuple):
    """What is random in a call: masks of dropout, and what zoneout's masks follow from."""

    recurrent_mask: Array | None = None  # (B, H): times h of the step before, where it meets R
    weight_mask: Array | None = None  # (G*H, H): times R
    zoneout: tuple[float, ...] | None = None  # the rate of each state
    seed: int | None = None  # None: zoneout's expectation in place of masks
    purpose: int = 0  # tells this layer and direction from others of the same seed

    def for_kernel(self) -> tuple[Any, ...]:
        """Return what the kernel takes: it gets R masked."""
        return self.recurrent_mask, self.zoneout, self.seed, self.purpose


RESET_TO = ("zeros", "state")
NO_RESETS = (None, "zeros")


def tape_rows(
    steps: int, batch: int, lengths: Lengths | None, resets: Resets | None
) -> tuple[int, int]:
    """Return the valid steps of all sequences, and into how many pieces resets cut these."""
    count, pieces = (steps * batch if lengths is None else int(lengths.sum())), batch
    if resets is not None:
        before = resets.before[1:]
        if lengths is not None:
            before = before & (np.arange(1, steps)[:, None] < lengths)
        pieces += int(np.count_nonzero(before))
    return count, pieces


weight_cache = core.weight_cache  # a place where `infer` keeps packed weights between calls


@dataclass(eq=False, repr=False)
class Tape:
    """What backward needs of one forward call. Opaque, and good for one backward call.

    It refers to x and the weights, and does not copy them: neither may change in between.
    With `recompute` it holds no gates, and of the states those before each segment; then the
    precision of float32 products must be the same in backward.
    """

    cell: Cell
    x: Array
    weights: Weights
    lengths: Lengths | None
    reverse: bool
    gates: Array | None
    h: Array
    c: Array | None
    recompute: int  # 0: the tape holds every step
    precision: str
    feedback: Feedback | None = None
    resets: Resets | None = None
    noise: Noise | None = None
    used: bool = False


def forward(
    cell: Cell,
    x: Array,
    h_0: Array,
    c_0: Array | None,
    weights: Weights,
    lengths: Lengths | None,
    reverse: bool,
    y: Array,
    h_n: Array,
    c_n: Array | None,
    recompute: int = 0,
    feedback: Feedback | None = None,
    *,
    batch_invariant: bool = False,
    resets: Resets | None = None,
    noise: Noise | None = None,
) -> Tape:
    """Run the kernel into y, h_n and c_n, and return its tape; `batch_invariant` as for `infer`."""
    if noise is not None and noise.weight_mask is not None:
        assert weights.weight_hh is not None
        weights = weights._replace(weight_hh=weights.weight_hh * noise.weight_mask)
    T, B, _ = x.shape
    H = h_0.shape[1]
    precision = core.float32_matmul_precision()
    shapes: list[tuple[int, ...]] = []
    before, reset_to = resets or NO_RESETS
    if recompute:
        assert weights.weight_hh is not None
        states = sum(core.segments(cell.key, x, weights.weight_hh, lengths, recompute, before))
    else:
        rows, pieces = tape_rows(T, B, lengths, resets)
        states = rows + pieces
        shapes = [(rows, cell.slots * H)]
    shapes += [(states, H)] * (2 if cell.has_c else 1)
    arrays = aligned_empty(*shapes, dtype=x.dtype)
    gates = None if recompute else arrays.pop(0)
    h, c = arrays[0], arrays[1] if cell.has_c else None
    core.forward(
        cell.key, x, weights, (h_0, c_0), y, (h_n, c_n), lengths, reverse, (gates, h, c),
        recompute, feedback, None, batch_invariant, before, reset_to,
        None if noise is None else noise.for_kernel(),
    )  # fmt: skip
    return Tape(
        cell, x, weights, lengths, reverse, gates, h, c, recompute, precision, feedback, resets,
        noise,
    )  # fmt: skip


def infer(
    cell: Cell,
    x: Array,
    h_0: Array,
    c_0: Array | None,
    weights: Weights,
    lengths: Lengths | None,
    reverse: bool,
    y: Array,
    h_n: Array,
    c_n: Array | None,
    cache: Any = None,
    feedback: Feedback | None = None,
    *,
    batch_invariant: bool = False,
    resets: Resets | None = None,
    noise: Noise | None = None,
) -> None:
    """Run the kernel into y, h_n and c_n without a tape. Of `noise` R's mask is not used.

    A `cache` (core.weight_cache()) keeps the packed weights for the next call. Every call compares
    fingerprints of all weights: after any change, in place or not, it packs them again.
    With `batch_invariant` a sequence's bits do not depend on the others beside it, nor on how it is
    cut into calls.
    """
    before, reset_to = resets or NO_RESETS
    core.forward(
        cell.key, x, weights, (h_0, c_0), y, (h_n, c_n), lengths, reverse, None, 0, feedback,
        cache, batch_invariant, before, reset_to,
        None if noise is None else noise.for_kernel(),
    )  # fmt: skip


def backward(
    tape: Tape,
    dy: Array | None,
    dh_n: Array | None,
    dc_n: Array | None,
    grads: Weights,
    dx: Array | None,
    dh_0: Array,
    dc_0: Array | None,
    feedback_gradient: Feedback | None = None,
) -> None:
    """Run the kernel into dx, dh_0 and dc_0, and add into grads. Uses the tape up."""
    precision = core.float32_matmul_precision()
    if tape.recompute and tape.precision != precision:
        raise ValueError(
            f"tape: expected float32 precision {tape.precision!r} as in forward, got {precision!r}"
        )
    before, reset_to = tape.resets or NO_RESETS
    noise, into, masked = tape.noise, grads, None
    if noise is not None and noise.weight_mask is not None:
        masked = zeros(noise.weight_mask.shape, noise.weight_mask.dtype)  # gradient of the masked R
        into = grads._replace(weight_hh=masked)
    tape.used = True
    try:
        core.backward(
            tape.cell.key, tape.x, tape.weights, (tape.gates, tape.h, tape.c), dy, (dh_n, dc_n),
            dx, (dh_0, dc_0), into, tape.lengths, tape.reverse, tape.recompute, tape.feedback,
            feedback_gradient, before, reset_to,
            None if noise is None else noise.for_kernel(),
        )  # fmt: skip
    except (TypeError, ValueError, MemoryError):  # raised before the kernel wrote anything
        tape.used = False
        raise
    if masked is not None:
        assert noise is not None
        assert grads.weight_hh is not None
        masked *= noise.weight_mask
        grads.weight_hh[...] += masked
