"""Arrays that the raw binding must refuse, made from good ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[Any]


def misaligned(a: Array) -> Array:
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    result = buffer[1:].view(a.dtype).reshape(a.shape)
    result[...] = a
    return result


def gapped(a: Array) -> Array:
    """The last dimension steps over every second element."""
    return np.repeat(a, 2, axis=-1)[..., ::2]


def backwards(a: Array) -> Array:
    """The last dimension runs backwards in memory."""
    return a[..., ::-1].copy()[..., ::-1]


def rows_backwards(a: Array) -> Array:
    return a[::-1].copy()[::-1]


def rows_shared(a: Array) -> Array:
    """All entries of the first dimension are the same memory."""
    return as_strided(a[:1].copy(), a.shape, (0, *a.strides[1:]))


def rows_overlapping(a: Array) -> Array:
    """Each entry of the first dimension starts one element after the one before."""
    buffer = np.zeros(a.size + len(a), a.dtype)
    return as_strided(buffer, a.shape, (a.itemsize, *a.strides[1:]))


def read_only(a: Array) -> Array:
    result = a.copy()
    result.flags.writeable = False
    return result


def gap_after_rows(a: Array) -> Array:
    """Rows further apart than they are long: a matrix may be so, a tape may not."""
    return np.concatenate([a, a], axis=-1)[..., : a.shape[-1]]


def of_dtype(dtype: Any) -> Callable[[Array], Array]:
    return lambda a: np.zeros(a.shape, dtype)


def resized(axis: int, by: int) -> Callable[[Array], Array]:
    """One dimension longer or shorter."""

    def change(a: Array) -> Array:
        shape = list(a.shape)
        shape[axis] = max(shape[axis] + by, 0)
        return np.zeros(shape, a.dtype)

    return change


# What is no array of the right type: TypeError, for every argument.
WRONG_TYPE: dict[str, Callable[[Array], Any]] = {
    "list": lambda a: a.tolist(),
    "number": lambda a: 3.0,
    "string": lambda a: "array",
    "numpy-scalar": lambda a: a.dtype.type(1),
    "memoryview": memoryview,
    "float16": of_dtype(np.float16),
    "int16": of_dtype(np.int16),
    "bool": of_dtype(np.bool_),
    "complex": of_dtype(np.complex128),
    "object": of_dtype(object),
    "text": of_dtype("U4"),
    "time": of_dtype("M8[s]"),
    "record": of_dtype([("re", np.float32), ("im", np.float32)]),
    "longdouble": of_dtype(np.longdouble),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
}

# Arrays of the right type that no kernel can address: ValueError, for every argument.
WRONG_LAYOUT: dict[str, Callable[[Array], Array]] = {
    "one-dimension-more": lambda a: a[None],
    "one-dimension-less": lambda a: a[0, ...],
    "no-dimension": lambda a: np.zeros((), a.dtype),
    "misaligned": misaligned,
    "gapped": gapped,
    "backwards": backwards,
}

# Refused for outputs of any rank.
WRONG_OUTPUT: dict[str, Callable[[Array], Array]] = {
    "read-only": read_only,
    "rows-shared": rows_shared,
    "rows-overlapping": rows_overlapping,
}
