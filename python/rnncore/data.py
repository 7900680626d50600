"""Series, lists and files as training data: windows, splits, scaling, padding, streams, blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnncore._blocks import Blocks
from rnncore._checks import as_numpy, boolean, check_lengths, positive_int
from rnncore._ragged import read_sequences, side_by_side
from rnncore._stateful_batches import StatefulBatches
from rnncore._types import Array, Lengths
from rnncore.standardizer import Standardizer

__all__ = ["Blocks", "Standardizer", "StatefulBatches", "pad", "split", "unpad", "windows"]


def __dir__() -> list[str]:
    return __all__


def _real(name: str, value: ArrayLike) -> Array:
    """Return an array of real numbers; integers become float64."""
    array = as_numpy(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def windows(series: ArrayLike, past: int, future: int) -> tuple[Array, Array]:
    """Cut a series into every (past, future) pair of neighbouring windows.

    Window w holds ``x[w] = series[w : w + past]`` and ``y[w] = series[w + past : w + past +
    future]``. Nothing is copied: both results are read-only views of the series, in its dtype, and
    `fit` and `predict` convert no more than a batch of them at a time.

    Parameters
    ----------
    series : array_like, shape (N,) or (N, F)
        N equally spaced times of one or of F values.
    past, future : int
        Steps seen and steps to forecast.

    Returns
    -------
    x : numpy.ndarray, shape (W, past, F)
        W = N - past - future + 1; F = 1 for a one-dimensional series.
    y : numpy.ndarray, shape (W, future) or (W, future, F)
        With the feature axis where the series has one.

    Raises
    ------
    ValueError
        If the series is shorter than past + future, or has other than one or two dimensions.
    TypeError
        If the series does not hold real numbers.
    """
    values = as_numpy("series", series)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"series: expected real numbers, got dtype {values.dtype}")
    past, future = positive_int("past", past), positive_int("future", future)
    if values.ndim not in (1, 2):
        raise ValueError(f"series: expected shape (N,) or (N, F), got {values.shape}")
    if len(values) < past + future:
        raise ValueError(
            f"series: expected at least past + future = {past + future} steps, got {len(values)}"
        )
    table = values if values.ndim == 2 else values[:, None]
    both = np.lib.stride_tricks.sliding_window_view(table, past + future, axis=0)
    both = both.swapaxes(1, 2)  # (W, past + future, F)
    y = both[:, past:]
    return both[:, :past], (y if values.ndim == 2 else y[:, :, 0])


def split(size: int, fractions: Sequence[float] = (0.7, 0.15, 0.15)) -> tuple[slice, ...]:
    """Divide N times into consecutive parts, oldest first.

    Cut the series with these slices first and make windows of each part: then no window
    straddles two parts, and nothing of the future leaks into training.

    Parameters
    ----------
    size : int
        N.
    fractions : sequence of float
        Share of each part, all positive, with the sum 1.

    Returns
    -------
    tuple of slice
        One slice per fraction; together they cover 0..N.

    Raises
    ------
    TypeError
        If `size` is no integer or the fractions are no numbers.
    ValueError
        If the fractions are not positive with sum 1, or a part would be empty.
    """
    size = positive_int("size", size)
    shares = _real("fractions", fractions).astype(np.float64)
    if shares.ndim != 1 or shares.size == 0 or not np.all(shares > 0):
        raise ValueError(f"fractions: expected positive numbers, got {fractions!r}")
    if abs(shares.sum() - 1) > 1e-9:
        raise ValueError(f"fractions: expected the sum 1, got {shares.sum():g}")
    ends = np.rint(np.cumsum(shares) * size).astype(int)
    starts = np.concatenate([[0], ends[:-1]])
    if np.any(starts == ends):
        raise ValueError(
            f"fractions: a part of {size} samples would be empty with {tuple(fractions)}"
        )
    return tuple(slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True))


def pad(
    sequences: Iterable[ArrayLike], value: float = 0, *, length: int | None = None
) -> tuple[Array, Lengths]:
    """Stack sequences of different lengths into one array.

    Parameters
    ----------
    sequences : iterable of array_like, each of shape (T_i,) or (T_i, F)
        T_i may be zero.
    value : float
        What stands behind the end of a sequence; the sequences' dtype must be able to hold it.
    length : int, optional
        T; by default the longest T_i. Nothing is ever cut off.

    Returns
    -------
    array : numpy.ndarray, shape (N, T) or (N, T, F)
        In the widest dtype of the sequences that hold something.
    lengths : numpy.ndarray of int64, shape (N,)
        T_i.

    Raises
    ------
    TypeError
        If `sequences` is no iterable, a sequence holds no real numbers, or `value` is no scalar.
    ValueError
        If there is no sequence, the features differ, elements are masked, `length` is shorter
        than a sequence, or the dtype can't hold `value` (-1 in unsigned integers, say).
    """
    arrays, lengths = read_sequences("sequences", sequences)
    longest = int(lengths.max())
    steps = longest if length is None else positive_int("length", length)
    if steps < longest:
        i = int(lengths.argmax())
        raise ValueError(f"length: expected at least {longest}, as sequences[{i}] has, got {steps}")
    dtype = np.result_type(*{array.dtype for array in arrays})
    return side_by_side(arrays, steps, _padding(value, dtype)), lengths


def unpad(array: ArrayLike, lengths: ArrayLike, *, front: bool = False) -> list[Array]:
    """Return the sequences of a padded array as a list, which models take: the inverse of `pad`.

    Nothing is copied. With `front` the padding stands in front of each sequence, as other
    libraries put it by default: a model would read it first, and `lengths` would cut off the end
    of what counts.

    Parameters
    ----------
    array : array_like, shape (N, T, ...)
        Inputs, or targets per step.
    lengths : array_like of int, shape (N,)
        Steps of each sequence, in [0, T].
    front : bool
        Whether the padding comes first.

    Returns
    -------
    list of N numpy.ndarray, each of shape (T_i, ...)
        Views of the array.

    Raises
    ------
    TypeError
        If lengths are no integers, or `front` is no bool.
    ValueError
        If the array has fewer than two dimensions, or a length does not fit.
    """
    padded = as_numpy("array", array)
    if padded.ndim < 2:
        raise ValueError(f"array: expected shape (N, T, ...), got {padded.shape}")
    N, T = padded.shape[:2]
    steps = check_lengths(lengths, T, N)
    if steps is None:
        raise TypeError("lengths: expected integers (N,), got None")
    if boolean("front", front):
        return [row[T - n :] for row, n in zip(padded, steps.tolist(), strict=True)]
    return [row[:n] for row, n in zip(padded, steps.tolist(), strict=True)]


def _padding(value: float, dtype: np.dtype[Any]) -> Any:
    """Return a scalar of `dtype`; numbers that it can't hold are refused, rounding is not."""
    given = as_numpy("value", value)
    if given.ndim != 0 or given.dtype.kind not in "fiub":
        raise TypeError(f"value: expected a number, got {value!r}")
    with np.errstate(invalid="ignore", over="ignore"):
        held = given.astype(dtype)
    overflowed = np.isfinite(given) and not np.isfinite(held)
    if overflowed or (dtype.kind != "f" and held != given):
        raise ValueError(f"value: expected a number that {dtype} can hold, got {value!r}")
    return held[()]
