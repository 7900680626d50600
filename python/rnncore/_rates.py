"""What changes while training runs: the learning rate, and how often targets feed back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rnncore._checks import choice, closed_fraction, number
from rnncore.models.base import Model

Schedule = Callable[[float], float]


class Forcing:
    """A model's teacher forcing, by epoch; leaves it as it came."""

    def __init__(self, model: Model, value: Any) -> None:
        if value is not None and not model.feeds_back:
            raise ValueError(
                "teacher_forcing: expected None for a model whose outputs feed back no values, got "
                f"{value!r}"
            )
        self._model, self._value = model, value
        if not (value is None or callable(value)):
            self._value = closed_fraction("teacher_forcing", value)

    def __enter__(self) -> Forcing:
        if self._value is not None:
            self._old = self._model.teacher_forcing
            # while data are checked: targets that may feed back must all be finite
            self._model.teacher_forcing = 1.0 if callable(self._value) else self._value
        return self

    def __exit__(self, *error: object) -> None:
        if self._value is not None:
            self._model.teacher_forcing = self._old

    def set(self, epoch: int) -> None:
        """Set what holds in an epoch, counted from 0."""
        if self._value is None:
            return
        self._model.teacher_forcing = self._value(epoch) if callable(self._value) else self._value


_SCHEDULES: dict[str, Schedule] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: 0.5 + 0.5 * math.cos(math.pi * share),
}


class Rate:
    """The optimizer's learning rate times a schedule's factor; leaves it as it came."""

    def __init__(self, optimizer: Any, schedule: Any) -> None:
        if not callable(schedule):
            schedule = _SCHEDULES[choice("schedule", schedule, tuple(_SCHEDULES))]
        self._factor: Schedule = schedule
        self._moves = schedule is not _SCHEDULES["constant"]
        if self._moves and not hasattr(optimizer, "lr"):
            raise TypeError(f"optimizer: expected one with an lr to schedule, got {optimizer!r}")
        self._optimizer = optimizer

    def __enter__(self) -> None:
        self._base = self._optimizer.lr if self._moves else 0.0

    def __exit__(self, *error: object) -> None:
        if self._moves:
            self._optimizer.lr = self._base

    def set(self, share: float) -> None:
        """Set the rate for a step before which `share` of all steps are done."""
        if not self._moves:
            return
        factor = number("schedule", self._factor(share), "a function that gives numbers")
        if not 0 <= factor < math.inf:
            raise ValueError(f"schedule: expected factors >= 0, got {factor} at {share:g}")
        self._optimizer.lr = factor * self._base
