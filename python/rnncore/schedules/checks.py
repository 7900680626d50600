"""What `fit` and layers take as teacher forcing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnncore._checks import closed_fraction
from rnncore.schedules.learning_rate import LR_SCHEDULES


def check_teacher_forcing(value: Any) -> float | Callable[[int], float]:
    """Return what `fit` takes as teacher_forcing: a probability, or a function of the epoch.

    Raises TypeError for a schedule of the learning rate, ValueError for a number out of [0, 1].
    """
    for name, schedule in LR_SCHEDULES.items():
        if value is schedule or (isinstance(value, str) and value == name):
            raise TypeError(
                "teacher_forcing: expected a probability or a schedule of teacher forcing, got a "
                f"schedule of the learning rate, which fit takes as lr_schedule={name!r}"
            )
    if callable(value):
        function: Callable[[int], float] = value
        return function
    return closed_fraction("teacher_forcing", value)
