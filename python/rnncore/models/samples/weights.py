"""RowWeights: how much each target counts in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_numpy, check_shape, refuse
from rnncore._types import Array
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.held import Held

_NON_NEGATIVE = "finite numbers >= 0"


@dataclass(eq=False, slots=True)
class RowWeights:
    """A product of up to three factors for each row, a target or a step of one.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the outputs.
    of_samples : numpy.ndarray, shape (N,), or None
    of_steps : HeldArray or HeldList of (N, T), or numpy.ndarray, shape (T,), or None
    of_classes : numpy.ndarray, shape (C,), or None
    """

    dtype: np.dtype[Any]
    of_samples: Array | None
    of_steps: Held | Array | None
    of_classes: Array | None

    def take(self, which: Choice, rows: tuple[int, ...], labels: Array) -> Array:
        """Return the weights of the chosen samples, (B,) or (B, S); `labels` where they have any.

        A label that does not count may weigh anything.
        """
        weights = np.ones(rows, self.dtype)
        if self.of_samples is not None:
            weights *= self.of_samples[which].reshape(-1, *[1] * (len(rows) - 1))
        if self.of_steps is not None:
            weights *= self._steps(which, rows)
        if self.of_classes is not None:
            weights *= self.of_classes.take(labels, mode="clip")
        return weights

    def check(self, block: slice, rows: tuple[int, ...], counted: Array | None) -> None:
        """Raise ValueError for a step's weight that counts, and is negative or not finite."""
        if self.of_steps is None:
            return
        steps = np.broadcast_to(self._steps(block, rows), rows)
        wrong = ~(np.isfinite(steps) & (steps >= 0))
        if counted is not None:
            wrong &= counted if counted.ndim == wrong.ndim else counted.any(axis=-1)
        refuse("step_weight", steps, wrong, _NON_NEGATIVE, first=block.start)

    def _steps(self, which: Choice, rows: tuple[int, ...]) -> Array:
        if isinstance(self.of_steps, np.ndarray):
            return self.of_steps[: rows[1]]
        assert self.of_steps is not None
        return self.of_steps.take(which, rows[1])


def read_sample_weight(value: Any, N: int, dtype: np.dtype[Any]) -> Array | None:
    """Return weights (N,), checked; None stays None."""
    return None if value is None else _numbers("sample_weight", value, "(N,)", (N,), dtype)


def read_class_weight(value: Any, classes: int, dtype: np.dtype[Any]) -> Array | None:
    """Return weights (C,) of an array, or of a dict by label, whose other classes weigh 1."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return _numbers("class_weight", value, "(C,)", (classes,), dtype)
    weights = np.ones(classes, dtype)
    for label, weight in value.items():
        if not isinstance(label, (int, np.integer)) or not 0 <= label < classes:
            raise ValueError(f"class_weight: expected labels in [0, {classes}), got {label!r}")
        weights[label] = _numbers(f"class_weight[{label}]", weight, "one number", (), dtype)
    return weights


def _numbers(
    name: str, value: Any, symbols: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    array = as_numpy(name, value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    check_shape(name, array, symbols, shape)
    refuse(name, array, ~(np.isfinite(array) & (array >= 0)), _NON_NEGATIVE)
    return array.astype(dtype)
