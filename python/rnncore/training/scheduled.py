"""What a schedule changes while training runs: the learning rate, and teacher forcing."""

from __future__ import annotations

import math
from typing import Any

from rnncore._checks import number
from rnncore.schedules.checks import check_teacher_forcing
from rnncore.schedules.learning_rate import check_lr_schedule, constant_lr
from rnncore.training.protocol import Trainable


class ScheduledTeacherForcing:
    """A model's teacher forcing, by epoch; leaves it as it came.

    Parameters
    ----------
    model : Trainable
    value : float, callable or None
        A probability, a function that gives one for each epoch, or None: the model's own.
    """

    def __init__(self, model: Trainable, value: Any) -> None:
        if value is not None:
            value = check_teacher_forcing(value)
            if not model.feeds_back:
                raise ValueError(
                    "teacher_forcing: expected None for a model whose outputs feed back no values, "
                    f"got {value!r}"
                )
        self._model, self._value = model, value

    def __enter__(self) -> ScheduledTeacherForcing:
        if self._value is not None:
            self._old = self._model.teacher_forcing
            # while targets are checked: those that may feed back must all be finite
            self._model.teacher_forcing = 1.0 if callable(self._value) else self._value
        return self

    def __exit__(self, *error: object) -> None:
        if self._value is not None:
            self._model.teacher_forcing = self._old

    def set(self, epoch: int) -> None:
        """Set what holds in an epoch, counted from 0."""
        if callable(self._value):
            self._model.teacher_forcing = self._value(epoch)


class ScheduledLearningRate:
    """The optimizer's learning rate, `base` times a schedule's factor; leaves it as it came.

    Parameters
    ----------
    optimizer : Optimizer
        With an attribute `lr`, unless the schedule is the constant one.
    schedule : str or callable
        As `fit` takes it.

    Attributes
    ----------
    moves : bool
        Whether `set` has anything to do.
    before : float
        What the rate will be again at the end.
    """

    def __init__(self, optimizer: Any, schedule: Any) -> None:
        self._factor = check_lr_schedule(schedule)
        self.moves = self._factor is not constant_lr
        self._has_lr = hasattr(optimizer, "lr")
        if self.moves and not self._has_lr:
            raise TypeError(f"optimizer: expected one with an lr to schedule, got {optimizer!r}")
        self._optimizer = optimizer

    def __enter__(self) -> None:
        self.before = self._base = self._optimizer.lr if self._has_lr else 0.0

    def __exit__(self, *error: object) -> None:
        if self._has_lr:
            self._optimizer.lr = self.before

    @property
    def base(self) -> float:
        """The rate without the schedule's factor."""
        return self._base

    @base.setter
    def base(self, value: float) -> None:
        self._optimizer.lr = value  # checks it
        self._base = self._optimizer.lr

    def set(self, share: float) -> None:
        """Set the rate, if it moves, for a step before which `share` of all steps are done."""
        factor = number("lr_schedule", self._factor(share), "a function that gives numbers")
        if not 0 <= factor < math.inf:
            raise ValueError(f"lr_schedule: expected factors >= 0, got {factor} at {share:g}")
        self._optimizer.lr = factor * self._base
