"""Scales: every series to mean 0 and standard deviation 1, perhaps of its logarithm, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.forecasting.windows import SeriesTable

# log(y / level + 0.1): zeros are no outliers, and large numbers count by their ratios
_OFFSET = 0.1
_MOST_LOG = 100.0  # of a forecast, far beyond all sense, so that none is infinite
_ZEROS = 0.01  # share of values from which on zeros are no chance


@dataclass(eq=False)
class SeriesScales:
    """How the targets of each series are scaled: measured on rows that training may see.

    ``z = (v - mean) / std`` with ``v = y``, or ``v = log(max(y, 0) / level + 0.1)`` for numbers
    that are never negative and whose changes are shares of them.

    Attributes
    ----------
    log : bool
    floor : list of bool
        Of each target: whether forecasts end at zero, since no value is negative and zeros are no
        chance (sales, rain), or since there are logarithms.
    level, mean, std : numpy.ndarray of float64, shape (G, D)
        Mean of y; mean and standard deviation of v. Where y or v does not vary, the other series'
        median stands for what can't be measured, or 1.
    spread : numpy.ndarray of float64, shape (G, D)
        How much wider intervals are than those of the average series; 1 until errors are measured.
    """

    log: bool
    floor: list[bool]
    level: Array
    mean: Array
    std: Array
    spread: Array

    @classmethod
    def measured(cls, table: SeriesTable, ends: Array, log: bool) -> SeriesScales:
        """Measure each series on its rows in front of `ends` (G,) that are in some segment."""
        G, D = len(ends), table.target.shape[1]
        level, mean, std = (np.zeros((G, D)) for _ in range(3))
        least, zeros, count = np.full(D, np.inf), np.zeros(D), 0
        for g in range(G):
            y = table.target[table.bounds[g] : ends[g]]
            y = y[np.isfinite(y).all(axis=1)]
            if len(y) == 0:
                continue
            level[g] = y.mean(axis=0)
            v = _logarithm(y, level[g]) if log else y
            mean[g], spread = v.mean(axis=0), v.std(axis=0)
            std[g] = np.where(spread <= 1e-12 * np.abs(mean[g]), 0, spread)
            least, zeros = np.minimum(least, y.min(axis=0)), zeros + (y == 0).sum(axis=0)
            count += len(y)
        floor = (least >= 0) & ((zeros >= max(2, _ZEROS * count)) | log)
        if log:
            level = _filled(level)
        return cls(log, floor.tolist(), level, mean, _filled(std), np.ones((G, D)))

    def scaled(self, y: Array, series: Array) -> Array:
        """Return z of y (M, ..., D), where window or row m is of series ``series[m]``."""
        level, mean, std = (self._of(part, series, y) for part in self._parts[:3])
        v = _logarithm(y, level) if self.log else y
        return np.asarray((v - mean) / std)

    def inverse(self, z: Array, series: Array) -> Array:
        """Return y of z (M, ..., D)."""
        level, mean, std = (self._of(part, series, z) for part in self._parts[:3])
        v = z * std + mean
        if self.log:
            v = (np.exp(np.minimum(v, _MOST_LOG)) - _OFFSET) * level
        return np.asarray(np.where(self.floor, np.maximum(v, 0), v))

    def taken(self, series: Array) -> SeriesScales:
        """Return the scales of the chosen series, in this order."""
        return SeriesScales(self.log, self.floor, *(part[series] for part in self._parts))

    def replaced(self, others: SeriesScales, places: Array) -> SeriesScales:
        """Return these scales, with those of `others` where a place (G,) is not -1."""
        known = (places >= 0)[:, None]
        pairs = zip(self._parts, others._parts, strict=True)
        parts = (np.where(known, b[places], a) for a, b in pairs)
        return SeriesScales(self.log, others.floor, *parts)

    @property
    def _parts(self) -> tuple[Array, Array, Array, Array]:
        return self.level, self.mean, self.std, self.spread

    @staticmethod
    def _of(part: Array, series: Array, values: Array) -> Array:
        return part[series].reshape(len(series), *[1] * (values.ndim - 2), -1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays."""
        return {
            "log": self.log, "floor": self.floor, "level": self.level, "mean": self.mean,
            "std": self.std, "spread": self.spread,
        }  # fmt: skip


def _filled(parts: Array) -> Array:
    """Return positive numbers (G, D), zeros replaced by the median of the others, or by 1."""
    result = parts.copy()
    for column in result.T:
        there = column[column > 0]
        column[column <= 0] = np.median(there) if len(there) else 1.0
    return result


def _logarithm(y: Array, level: Array) -> Array:
    share = np.maximum(y, 0) / np.where(level > 0, level, 1)
    return np.asarray(np.log(share + _OFFSET))


@dataclass(eq=False)
class ColumnScales:
    """How columns beside the targets are scaled; those of zeros and ones stay as they are.

    Attributes
    ----------
    mean, std : numpy.ndarray of float64, shape (K,)
    """

    mean: Array
    std: Array

    @classmethod
    def measured(cls, columns: Array) -> ColumnScales:
        """Measure columns (N, K) of rows that training may see; NaN is left out."""
        K = columns.shape[1]
        mean, std = np.zeros(K), np.ones(K)
        for k in range(K):
            values = columns[np.isfinite(columns[:, k]), k]
            if len(values) and not np.isin(values, (0.0, 1.0)).all():
                mean[k], spread = values.mean(), values.std()
                std[k] = spread if spread > 1e-12 * abs(mean[k]) else 1.0
        return cls(mean, std)

    def scaled(self, columns: Array) -> Array:
        """Return scaled columns (..., K)."""
        return np.asarray((columns - self.mean) / self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays."""
        return {"mean": self.mean, "std": self.std}
