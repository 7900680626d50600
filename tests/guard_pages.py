"""Arrays that end where memory ends, or begin where it begins: a touch beyond is a crash."""

from __future__ import annotations

import ctypes
import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PAGE = mmap.PAGESIZE
NO_ACCESS = 0  # PROT_NONE
_libc = ctypes.CDLL(None, use_errno=True)


class GuardPages:
    """Copies of arrays between two pages that cannot be read, as long as the context lasts.

    `at_end`: they end at the page behind them, else they begin at the one before. `gap`: elements
    between the rows of a matrix that a kernel must leave alone; `gaps_are_whole` says if it did.
    """

    def __init__(self, *, at_end: bool, gap: int = 0) -> None:
        self._at_end, self._gap = at_end, gap
        self._maps: list[mmap.mmap] = []
        self._gaps: list[Array] = []

    def __enter__(self) -> GuardPages:
        return self

    def __exit__(self, *error: object) -> None:
        self._maps.clear()
        self._gaps.clear()

    def copy(self, array: Array, *, gap: bool = False) -> Array:
        """The array's numbers at the edge; with `gap` its rows lie apart."""
        rows, columns = array.shape if array.ndim == 2 and gap else (1, array.size)
        stride = columns + (self._gap if gap else 0)
        size = ((rows - 1) * stride + columns) * array.itemsize if array.size else 0
        pages = math.ceil(size / PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._maps.append(memory)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for guard in (0, pages + 1):
            _protect(address + guard * PAGE, PAGE, NO_ACCESS)
        at = PAGE * (pages + 1) - size if self._at_end else PAGE
        strides = (stride * array.itemsize, array.itemsize)
        if rows == 1:
            result: Array = np.ndarray(array.shape, array.dtype, memory, at)
        else:
            result = np.ndarray(array.shape, array.dtype, memory, at, strides)
            whole = np.ndarray(size // array.itemsize, array.dtype, memory, at)
            whole.fill(np.nan if array.dtype.kind == "f" else 7)
            between = np.arange(len(whole)) % stride >= columns
            self._gaps.append(np.ma.MaskedArray(whole, ~between))
        result[...] = array
        return result

    @property
    def gaps_are_whole(self) -> bool:
        return all(np.isnan(gaps.compressed()).all() for gaps in self._gaps)


def _protect(address: int, size: int, access: int) -> None:
    if _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), access):
        raise OSError(ctypes.get_errno(), "mprotect")
