"""Checks of a layer's arrays: as many as there should be, of the right shapes, of one dtype."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncore._types import Array
from rnncore.keras._described import Described

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def check_arrays(
    layer: Described, arrays: Sequence[Array], shapes: Sequence[tuple[int | None, ...]]
) -> None:
    """Raise ValueError unless a layer's arrays have these shapes, where None is any size but 0."""
    if len(arrays) != len(shapes):
        raise layer.error("weights", f"{len(shapes)} arrays", len(arrays))
    for i, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        fits = len(array.shape) == len(shape) and all(
            size == wanted or (wanted is None and size > 0)
            for size, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits:
            text = ", ".join("any" if wanted is None else str(wanted) for wanted in shape)
            expected = f"shape ({text}{',' * (len(shape) == 1)})"
            raise layer.error(f"weights[{i}]", expected, array.shape)
        if array.dtype not in _FLOATS or array.dtype != arrays[0].dtype:
            expected = "float32 or float64, the same for all"
            raise layer.error(f"weights[{i}]", expected, array.dtype.name)
