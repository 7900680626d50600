"""Options of a layer with outputs of its own: readout, recurrence, delays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rnncore._checks import choice, positive_int
from rnncore._native.cells import Cell

RECURRENCES = ("hidden", "output_to_hidden", "output_to_output")


ACTIVATIONS = ("identity", "tanh", "sigmoid", "softmax")


_LONGEST_DELAY = 1 << 20


@dataclass(frozen=True)
class Output:
    """The readout y_t = phi(P h_t + Q f_t + b_o) of a layer and where f_t, its past, goes.

    Without readout (`size` 0) the outputs are h itself.
    """

    size: int  # O
    recurrence: tuple[str, ...]
    activation: str
    delays: tuple[int, ...]

    @property
    def hidden(self) -> bool:
        """Whether there is R."""
        return "hidden" in self.recurrence

    @property
    def feeds_back(self) -> bool:
        """Whether there is U or Q."""
        return self.recurrence != ("hidden",)

    @property
    def memory(self) -> int:
        """Return D, the outputs that a state keeps."""
        return max(self.delays)

    def shapes(self, cell: Cell, hidden_size: int, bias: bool) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of `OutputWeights` that is there."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.size == 0:
            return shapes
        fed = self.size * len(self.delays)
        if "output_to_hidden" in self.recurrence:
            shapes["weight_oh"] = (cell.gates * hidden_size, fed)
        shapes["weight_ho"] = (self.size, hidden_size)
        if "output_to_output" in self.recurrence:
            shapes["weight_oo"] = (self.size, fed)
        if bias:
            shapes["bias_o"] = (self.size,)
        return shapes


def read_output(
    output_size: int | None,
    recurrence: str | Iterable[str],
    output_activation: str,
    feedback_delays: int | Iterable[int],
) -> Output:
    """Return the constructor's options, checked; errors name the argument."""
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
        return Output(0, wanted, activation, delays)
    size = positive_int("output_size", output_size)
    if activation == "softmax" and size < 2:
        raise ValueError(
            f"output_activation: expected output_size >= 2 classes for 'softmax', got {size}"
        )
    if wanted == ("hidden",) and delays != (1,):
        raise ValueError(f"feedback_delays: expected (1,) without feedback, got {delays}")
    return Output(size, wanted, activation, delays)


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
