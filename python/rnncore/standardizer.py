"""Standardizer: data to mean 0 and standard deviation 1, and forecasts back to their unit."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from rnncore._checks import as_numpy, integer
from rnncore._html import folded, paragraph, table
from rnncore._parts import storable
from rnncore._types import Array

__all__ = ["Standardizer"]

Columns: TypeAlias = "int | list[int] | str | None"  # an integer, several, or "all"

_MANY = 20  # columns, above which a notebook shows none at first
_BLOCK = 1 << 18  # numbers that are converted to float64 at a time


def __dir__() -> list[str]:
    return __all__


@storable
class Standardizer:
    """Scale every column to mean 0 and standard deviation 1, as measured on the training part.

    The names of scikit-learn's StandardScaler work as well: `fit_transform`, `inverse_transform`,
    `mean_`, `scale_`, `n_features_in_`.

    Attributes
    ----------
    mean, std : numpy.ndarray of float64, shape (F,), or () for one-dimensional data
        Set by `fit`. A constant column has std 1: one whose spread is not above the rounding error
        of its mean, eps of the data's dtype times the mean.
    """

    mean: Array
    std: Array

    def fit(self, x: ArrayLike) -> Standardizer:
        """Measure mean and standard deviation over all axes but the last.

        Parameters
        ----------
        x : array_like, shape (N,) or (..., F)
            The training part alone; finite. Booleans count as 0 and 1.

        Returns
        -------
        Standardizer
            This object.

        Raises
        ------
        TypeError
            If x does not hold real numbers.
        ValueError
            If x is empty, or holds NaN, infinity or numbers whose squares float64 cannot hold.
        """
        values = _real("x", x)
        if values.ndim == 0 or values.size == 0:
            raise ValueError(f"x: expected at least one sample, got shape {values.shape}")
        mean, std = _moments(values)
        if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(std))):
            raise ValueError("x: expected finite numbers below 1e150, got NaN, infinity or more")
        eps = np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps
        constant = std <= max(float(eps), np.finfo(np.float64).eps) * np.abs(mean)
        self.mean, self.std = mean, np.where(constant, 1.0, std)
        return self

    def transform(self, x: ArrayLike, columns: Columns = "all") -> Array:
        """Return (x - mean) / std, in the dtype of x.

        Parameters
        ----------
        x : array_like, shape (..., F)
            Columns as in `fit`; any shape after a one-dimensional fit. Integers and booleans
            become float64.
        columns : int, list of int, or "all"
            Which columns x holds: an integer for a column that all of x belongs to, whatever its
            shape; k integers for the k columns of the last axis.

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, its last axis or `columns` is not as above, or nothing was
            fitted yet.
        """
        values, mean, std = self._read("x", x, columns)
        return np.asarray((values - mean) / std, values.dtype)

    def inverse(self, z: ArrayLike, columns: Columns = None) -> Array:
        """Return z * std + mean, in the dtype of z: back to the unit of the data.

        Parameters
        ----------
        z : array_like
            Scaled values.
        columns : int, list of int, or "all"
            As for `transform`. After a fit on several columns it must be given: an array (W, 3)
            may be 3 columns, or a forecast of one column, 3 steps long. So `inverse(z, 0)` is for
            forecasts (W, future) of the first column, `inverse(z, "all")` for all columns. After a
            fit on one column all of z belongs to it, whatever its shape.

        Raises
        ------
        TypeError, ValueError
            As in `transform`; also if `columns` is missing.
        """
        if columns is None and self._count() == 1:
            columns = 0
        values, mean, std = self._read("z", z, columns)
        return np.asarray(values * std + mean, values.dtype)

    def fit_transform(self, x: ArrayLike) -> Array:
        """Return `fit(x).transform(x)`."""
        return self.fit(x).transform(x)

    def inverse_transform(self, z: ArrayLike) -> Array:
        """Return `inverse(z, "all")`: z holds all columns, as scikit-learn has it."""
        return self.inverse(z, "all")

    @property
    def mean_(self) -> Array:
        """`mean`, by scikit-learn's name."""
        return self.mean

    @property
    def scale_(self) -> Array:
        """`std`, by scikit-learn's name."""
        return self.std

    @property
    def n_features_in_(self) -> int:
        """Columns of the data of `fit`: F, or 1 for one-dimensional data."""
        return int(self.mean.size)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of "mean" and "std", for `from_state_dict`."""
        self._count()
        return {"mean": self.mean.copy(), "std": self.std.copy()}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Standardizer:
        """Return a scaler as it was when `state_dict` was called.

        Parameters
        ----------
        state : mapping
            From `state_dict`; what numpy.load reads of numpy.savez too.

        Raises
        ------
        KeyError
            If names are missing or unexpected.
        TypeError, ValueError
            If `state` is no mapping, or its arrays are not what `fit` measures.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a mapping, got {type(state).__name__}")
        if set(state) != {"mean", "std"}:
            raise KeyError(f"state: expected 'mean' and 'std', got {sorted(map(str, state))}")
        mean, std = (np.array(_real(name, state[name]), np.float64) for name in ("mean", "std"))
        if mean.ndim > 1 or mean.size == 0 or not np.isfinite(mean).all():
            raise ValueError(f"mean: expected finite numbers () or (F,), got {mean!r}")
        if std.shape != mean.shape or not (np.isfinite(std) & (std > 0)).all():
            raise ValueError(f"std: expected positive numbers {mean.shape}, got {std!r}")
        scaler = cls()
        scaler.mean, scaler.std = mean, std
        return scaler

    def __repr__(self) -> str:
        if not hasattr(self, "mean"):
            return "Standardizer(not fitted)"
        mean, std = (
            np.array2string(array, precision=4, separator=", ", threshold=6, edgeitems=2)
            for array in (self.mean, self.std)
        )
        many = f"{self.mean.size} columns: " if self.mean.size > 1 else ""
        return f"Standardizer({many}mean {mean}, std {std})"

    def _repr_html_(self) -> str:
        """Return a table of the columns for notebooks, folded where they are many."""
        if not hasattr(self, "mean"):
            return paragraph(repr(self))
        both = zip(self.mean.reshape(-1), self.std.reshape(-1), strict=True)
        rows = [(i, f"{mean:.6g}", f"{std:.6g}") for i, (mean, std) in enumerate(both)]
        whole = table(["column", "mean", "std"], rows)
        return whole if len(rows) <= _MANY else folded(repr(self), whole)

    def _count(self) -> int:
        """Return how many columns were fitted."""
        if not hasattr(self, "mean"):
            raise ValueError("Standardizer: call fit on the training part first")
        return int(self.mean.size)

    def _read(self, name: str, value: ArrayLike, columns: Any) -> tuple[Array, Array, Array]:
        """Return the values, and the mean and std of the columns that they hold."""
        which = _read_columns(columns, self._count())
        values = _real(name, value)
        mean, std = self.mean, self.std
        if which is not None:
            mean, std = mean.reshape(-1)[which], std.reshape(-1)[which]
        if mean.ndim and (values.ndim == 0 or values.shape[-1] != mean.size):
            raise ValueError(
                f"{name}: expected shape (..., F) = (..., {mean.size}), got {values.shape}; "
                "say with columns= which columns it holds"
            )
        return values, mean, std


def _read_columns(columns: Any, count: int) -> int | list[int] | None:
    """Return an index into the columns; None for all of them."""
    if isinstance(columns, str) and columns == "all":
        return None
    if columns is None or isinstance(columns, str):
        raise ValueError(
            f"columns: expected which of the {count} columns the array holds: an integer for all "
            f"of it, a list of integers for its last axis, or 'all'; got {columns!r}"
        )
    if np.ndim(columns) == 0:
        return _column("columns", columns, count)
    return [_column(f"columns[{i}]", column, count) for i, column in enumerate(columns)]


def _column(name: str, value: Any, count: int) -> int:
    """Return an index in [0, count); negative ones count from the end, as numpy's."""
    return integer(name, value, -count, count - 1, "an integer") % count


def _real(name: str, value: ArrayLike) -> Array:
    """Return an array of real floats; integers and booleans become float64.

    Objects may be numbers: a data frame with a column of booleans is an array of objects.
    """
    array = as_numpy(name, value)
    real = array.dtype.kind in "fiub"
    if array.dtype == object and array.ndim > 0:
        real = all(isinstance(one, (numbers.Real, np.bool_)) for one in array.flat)
    if not real:
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _moments(values: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation over all axes but the last, in float64.

    Both are taken of deviations from the first row, which are exactly 0 in a constant column, in
    blocks, so that views of overlapping windows need no copy of the whole.
    """
    axes = tuple(range(max(1, values.ndim - 1)))
    count = math.prod(values.shape[axis] for axis in axes)
    first = values[(0,) * len(axes)].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum((block - first).sum(axis=axes) for block in _blocks(values))
        shift = np.asarray(total / count)
        squares = sum(((block - first - shift) ** 2).sum(axis=axes) for block in _blocks(values))
        return np.asarray(first + shift), np.asarray(np.sqrt(squares / count))


def _blocks(values: Array) -> Iterator[Array]:
    rows = max(1, _BLOCK // math.prod(values.shape[1:]))
    for start in range(0, len(values), rows):
        yield values[start : start + rows].astype(np.float64)
