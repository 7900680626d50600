"""Parameterless: the base of what has nothing to learn, such as an activation or a pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnncore._checks import as_array, as_numpy, check_shape
from rnncore._types import Array
from rnncore.module import Module

_DOUBLE = np.dtype(np.float64)
_SINGLE = np.dtype(np.float32)


@dataclass(eq=False, repr=False, slots=True)
class ParameterlessTape:
    """What `backward` of a module without parameters needs. Opaque; it may serve again."""

    used: ClassVar[bool] = False
    owner: Parameterless
    shape: tuple[int, ...]  # of y
    kept: Any
    dtype: np.dtype[Any]

    def read_gradient(self, dy: Any) -> Array:
        """Return dy, checked: of y's shape, in its dtype."""
        gradient = as_array("dy", dy, self.dtype, contiguous=True)
        check_shape("dy", gradient, "the shape of y", self.shape)
        return gradient


class Parameterless(Module):
    """A module without parameters: it computes in the dtype of its input, float32 or float64."""

    def __init__(self) -> None:
        super().__init__({})


def read_floats(name: str, value: Any) -> Array:
    """Return real numbers as float64 if they are that and in an array, else as float32."""
    array = as_numpy(name, value)
    chosen = _DOUBLE if hasattr(value, "dtype") and array.dtype == _DOUBLE else _SINGLE
    return as_array(name, value, chosen, contiguous=True)


def read_steps(name: str, value: Any) -> Array:
    """Return sequences (B, T, F) of floats; ValueError for another rank."""
    array = read_floats(name, value)
    if array.ndim != 3:
        raise ValueError(f"{name}: expected (B, T, F), got {array.shape}")
    return array
