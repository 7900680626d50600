"""Regularisers of a recurrent stack: their rates as data, and the noise of one training call.

Every mask follows from the call's seed, what it is for, the step (zoneout alone), the row in the
user's order and the unit. So it is the same at any number of threads, with `recompute`, and
whatever the lengths and resets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnncore._checks import fraction
from rnncore._native.cells import Cell
from rnncore._native.dropout import dropout_mask
from rnncore._native.layer import Noise
from rnncore._types import Array

_INPUT, _RECURRENT, _WEIGHT, _ZONEOUT = range(4)  # purposes; zoneout has one for each state
_PURPOSES = 8  # of one layer and direction


@dataclass(frozen=True)
class Regularisers:
    """Probabilities in [0, 1), all for training; in prediction zoneout takes its expectation."""

    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0
    zoneout: tuple[float, ...] = ()  # of each state; empty: of none

    @cached_property
    def random(self) -> bool:
        """Whether a training call draws anything."""
        return self.input_dropout > 0 or self.recurrent

    @cached_property
    def recurrent(self) -> bool:
        """Whether the kernels of a layer draw anything."""
        return self.recurrent_dropout > 0 or self.weight_dropout > 0 or bool(self.zoneout)

    @cached_property
    def expectation(self) -> Noise | None:
        """What remains of them in prediction."""
        return Noise(zoneout=self.zoneout) if self.zoneout else None

    def input_mask(self, seed: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array | None:
        """Return the mask (B, I) of x, for all steps."""
        if self.input_dropout == 0:
            return None
        return dropout_mask(shape, dtype, self.input_dropout, seed, _INPUT)

    def noise(self, seed: int, k: int, B: int, weight_hh: Array | None) -> Noise | None:
        """Return the noise of layer and direction k."""
        if not self.recurrent:
            return None
        assert weight_hh is not None
        first, H, dtype = k * _PURPOSES, weight_hh.shape[1], weight_hh.dtype

        def mask(shape: tuple[int, int], rate: float, purpose: int) -> Array | None:
            return dropout_mask(shape, dtype, rate, seed, first + purpose) if rate > 0 else None

        return Noise(
            mask((B, H), self.recurrent_dropout, _RECURRENT),
            mask((len(weight_hh), H), self.weight_dropout, _WEIGHT),
            self.zoneout or None,
            seed,
            first + _ZONEOUT,
        )


NONE = Regularisers()


def read_regularisers(
    cell: Cell,
    *,
    input_dropout: Any,
    recurrent_dropout: Any,
    weight_dropout: Any,
    zoneout: Any,
    other_recurrence: str | None,
) -> Regularisers:
    """Return what the constructor's options say; errors name the option.

    `other_recurrence`: the option by which something else than h feeds back, or None.
    """
    result = Regularisers(
        fraction("input_dropout", input_dropout),
        fraction("recurrent_dropout", recurrent_dropout),
        fraction("weight_dropout", weight_dropout),
        _read_zoneout(cell, zoneout),
    )
    if other_recurrence is not None:
        for name in ("recurrent_dropout", "weight_dropout", "zoneout"):
            if getattr(result, name):
                value = {"zoneout": zoneout}.get(name, getattr(result, name))
                raise ValueError(f"{name}: expected 0.0 with {other_recurrence}, got {value!r}")
    return result


def _read_zoneout(cell: Cell, value: Any) -> tuple[float, ...]:
    """Return the rate of each state: one number is that of all. Empty if all are 0."""
    states = len(cell.states)
    if isinstance(value, (tuple, list)):
        if states == 1 or len(value) != states:
            expected = "a number" if states == 1 else "a number or a pair (of h, of c)"
            raise ValueError(f"zoneout: expected {expected}, got {value!r}")
        rates = tuple(fraction("zoneout", rate) for rate in value)
    else:
        rates = (fraction("zoneout", value),) * states
    return rates if any(rates) else ()
