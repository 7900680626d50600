"""What users hand over in place of an array: the same numbers in other clothes, and what is none.

Beside `bad_arrays`, whose arrays the raw binding must refuse: the package takes most of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from bad_arrays import backwards, gapped, misaligned, read_only
from numpy.lib.stride_tricks import as_strided


def memory_map(a: Any) -> Any:
    with tempfile.NamedTemporaryFile() as file:
        a.tofile(file.name)
        return np.memmap(file.name, a.dtype, "r", shape=a.shape)


class Exporter:
    """Anything that offers itself through numpy's protocol, as data frames do."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.array, dtype)


def swapped(a: Any) -> Any:
    return a.astype(a.dtype.newbyteorder(">"))


# The same values: the answer is that of the plain array.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "big-endian": swapped,
    "misaligned": misaligned,
    "Fortran": np.asfortranarray,
    "strided": gapped,
    "negative stride": backwards,
    "broadcast": lambda a: np.broadcast_to(a[None], (2, *a.shape))[1],
    "read-only": read_only,
    "memory map": memory_map,
    "nothing masked": np.ma.masked_array,
    "exporter": Exporter,
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(a.tolist()),
}
FLOATS = ("float16", "float64", "longdouble", "bool", "int8", "int64", "uint64", ">f8")
INTEGERS = ("int8", "uint8", ">i4", "int64", "uint64")


def of(dtype: str) -> Callable[[Any], Any]:
    return lambda a: a.astype(dtype)


def masked(a: Any) -> Any:
    mask = np.zeros(a.shape, bool)
    mask.flat[-1] = True
    return np.ma.masked_array(a, mask)


def uneven(a: Any) -> Any:
    """Nested lists of different lengths."""
    return [[1.0, 2.0], [3.0]]


# No array of numbers: TypeError or ValueError that names the argument.
NO_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "complex64": of("complex64"),
    "complex list": lambda a: a.astype(complex).tolist(),
    "object": of("object"),
    "text": of("U4"),
    "bytes": of("S4"),
    "dates": of("M8[s]"),
    "spans": of("m8[s]"),
    "record": lambda a: np.zeros(a.shape, [("re", np.float32), ("im", np.float32)]),
    "masked": masked,
    "uneven": uneven,
    "string": lambda a: "array",
    "dictionary": lambda a: {"x": a},
    "set": lambda a: {1.0, 2.0},
    "generator": iter,
    "object()": lambda a: object(),
    "function": lambda a: len,
    "class": lambda a: np.ndarray,
    "no number": lambda a: [None] * len(a),
}


def resized(axis: int, by: int) -> Callable[[Any], Any]:
    def change(a: Any) -> Any:
        shape = list(a.shape)
        shape[axis] += by
        return np.ones(shape, a.dtype)

    return change


WRONG_RANK: dict[str, Callable[[Any], Any]] = {
    "no dimension": lambda a: a.flat[0],
    "a dimension more": lambda a: a[None],
    "two dimensions more": lambda a: a[None, None],
}


def put(index: int, value: Any) -> Callable[[Any], Any]:
    """The array with one number replaced."""

    def change(a: Any) -> Any:
        a = a.copy()
        a.flat[index] = value
        return a

    return change


def second(value: float) -> Callable[[Any], Any]:
    return put(1, value)


def at_the_end(value: int) -> Callable[[Any], Any]:
    return put(-1, value)


def huge(a: Any) -> Any:
    """2**40 numbers or more that take no memory."""
    return as_strided(a, (2**40, *a.shape[1:]), (0,) * a.ndim)


# No token, label or length of anything.
NO_INDEX = (-1, 99, 2**40, -(2**63), 2**63 - 1)

# Numbers that no format forbids.
EXTREME = {
    "NaN": np.nan, "Inf": np.inf, "-Inf": -np.inf, "1e30": 1e30, "largest": 3.4e38,
    "subnormal": 1e-42,
}  # fmt: skip
