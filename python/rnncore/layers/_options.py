"""Options of a recurrent layer's constructor, read into a `StackSpec`; errors name the option."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import boolean, check_dtype, choice, positive_int
from rnncore._native.cells import Cell
from rnncore.layers._regularisers import read_regularisers
from rnncore.layers._spec import Readout, StackSpec

RECURRENCES = ("hidden", "output_to_hidden", "output_to_output")
ACTIVATIONS = ("identity", "tanh", "sigmoid", "softmax")
_LONGEST_DELAY = 1 << 20
_MAX_LAYERS = 1024  # each costs Python objects, which no allocation could refuse at once


def read_spec(
    cells: tuple[Cell, ...],
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    bias: bool,
    dtype: DTypeLike,
    proj_size: int,
    output_size: int | None,
    recurrence: str | Iterable[str],
    output_activation: str,
    feedback_delays: int | Iterable[int],
    learn_initial_state: bool,
    **regularisers: Any,
) -> StackSpec:
    """Return what the options describe: of one direction for each of the `cells`.

    `regularisers` are those of `read_regularisers`.
    """
    spec = StackSpec(
        cells=cells,
        input_size=positive_int("input_size", input_size),
        hidden_size=positive_int("hidden_size", hidden_size),
        num_layers=positive_int("num_layers", num_layers, _MAX_LAYERS),
        bias=boolean("bias", bias),
        directions=len(cells),
        proj_size=_read_projection(proj_size, hidden_size),
        readout=_read_readout(output_size, recurrence, output_activation, feedback_delays),
        dtype=check_dtype(dtype),
        regularisers=read_regularisers(
            cells[0],
            other_recurrence="output_size" if output_size else "proj_size" if proj_size else None,
            **regularisers,
        ),
        learn_initial_state=boolean("learn_initial_state", learn_initial_state),
    )
    if spec.readout is not None:
        if spec.directions > 1:
            raise ValueError(
                "bidirectional: expected False with output_size: the reverse direction would need "
                "outputs of steps that are still to come"
            )
        if cells[0].needs_hidden and "hidden" not in spec.readout.recurrence:
            raise ValueError(
                "recurrence: expected 'hidden' among them with reset_after=False, since the reset "
                f"gate acts on the hidden recurrence, got {spec.readout.recurrence}"
            )
        if spec.proj_size:
            raise ValueError(f"proj_size: expected 0 with output_size, got {spec.proj_size}")
    return spec


def _read_projection(proj_size: int, hidden_size: int) -> int:
    """Return the width of the projected h; 0 = none."""
    if np.ndim(proj_size) == 0 and proj_size == 0 and not isinstance(proj_size, bool):
        return 0
    size = positive_int("proj_size", proj_size)
    if size >= hidden_size:
        raise ValueError(f"proj_size: expected fewer than hidden_size = {hidden_size}, got {size}")
    return size


def _read_readout(
    output_size: int | None,
    recurrence: str | Iterable[str],
    output_activation: str,
    feedback_delays: int | Iterable[int],
) -> Readout | None:
    """Return the readout, or None without output_size."""
    wanted = _read_recurrence(recurrence)
    delays = _read_delays(feedback_delays)
    activation = choice("output_activation", output_activation, ACTIVATIONS)
    if output_size is None:
        for name, value, usual in (
            ("recurrence", wanted, ("hidden",)),
            ("output_activation", activation, "identity"),
            ("feedback_delays", delays, (1,)),
        ):
            if value != usual:
                raise ValueError(f"{name}: expected {usual!r} without output_size, got {value!r}")
        return None
    size = positive_int("output_size", output_size)
    if activation == "softmax" and size < 2:
        raise ValueError(
            f"output_activation: expected output_size >= 2 classes for 'softmax', got {size}"
        )
    if wanted == ("hidden",) and delays != (1,):
        raise ValueError(f"feedback_delays: expected (1,) without feedback, got {delays}")
    return Readout(size, wanted, activation, delays)


def _read_recurrence(value: Any) -> tuple[str, ...]:
    valid = ", ".join(map(repr, RECURRENCES))
    if isinstance(value, str):
        value = (value,)
    try:
        names = list(value)
    except TypeError:
        raise TypeError(f"recurrence: expected some of {valid}, got {value!r}") from None
    for name in names:
        if name not in RECURRENCES:
            raise ValueError(f"recurrence: expected some of {valid}, got {name!r}")
    if not names:
        raise ValueError(f"recurrence: expected at least one of {valid}, got none")
    return tuple(name for name in RECURRENCES if name in names)


def _read_delays(value: Any) -> tuple[int, ...]:
    many = isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0
    values = list(value) if many else [value]
    if not values:
        raise ValueError("feedback_delays: expected at least one, got none")
    delays = tuple(positive_int("feedback_delays", delay, _LONGEST_DELAY) for delay in values)
    if len(set(delays)) < len(delays):
        raise ValueError(f"feedback_delays: expected each delay once, got {delays}")
    return delays
