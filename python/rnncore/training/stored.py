"""What a file says of a training, looked at before anything is taken over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rnncore._checks import integer, not_negative, number


def check_place(state: Mapping[str, Any], batches: int) -> None:
    """Raise ValueError or TypeError unless `state` is at a place of an epoch, with its sums."""
    integer("epoch", state["epoch"], 0, 2**53)
    integer("batch", state["batch"], 0, batches)
    number("loss", state["loss"])  # NaN before the first
    for name in ("total", "counted"):
        if not math.isfinite(number(name, state[name])):
            raise ValueError(f"{name}: expected a finite number, got {state[name]!r}")
    for name in ("lr", "lr_before"):
        not_negative(name, state[name])


def check_history(values: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError unless these are a history's values."""
    for name in ("loss", "validation_loss"):
        _check_numbers(name, values[name])
    if not isinstance(values["metrics"], Mapping):
        raise TypeError(f"metrics: expected lists by name, got {values['metrics']!r}")
    for name, each in values["metrics"].items():
        _check_numbers(f"metrics[{name!r}]", each)
    for name in ("loss_before", "validation_loss_before"):
        if values[name] is not None:
            number(name, values[name])
    integer("best_epoch", values["best_epoch"], 0, len(values["loss"]))
    integer("steps", values["steps"], 0, 2**53)
    not_negative("seconds", values["seconds"])
    if not isinstance(values["stopped"], (str, type(None))):
        raise TypeError(f"stopped: expected text or None, got {values['stopped']!r}")


def _check_numbers(name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise TypeError(f"{name}: expected a list of numbers, got {values!r}")
    for i, value in enumerate(values):
        number(f"{name}[{i}]", value)
