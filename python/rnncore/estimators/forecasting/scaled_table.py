"""ScaledTable: a table as the models see it, and what they see of its windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.forecasting.scales import ColumnScales, SeriesScales
from rnncore.estimators.forecasting.views import View
from rnncore.estimators.forecasting.windows import SeriesTable, Windows

_FAR, _FAR_OF_LOGS = 100, 1  # times the range of what a window sees
_LEAST_RANGE = 3  # standard deviations
_BLOCK = 1024  # windows
_MOST_LAGS = 512  # columns of the linear part: further back it does not look


@dataclass(eq=False)
class Scales:
    """How all columns of a table are scaled.

    Attributes
    ----------
    target : SeriesScales
    past, known, static : ColumnScales
    """

    target: SeriesScales
    past: ColumnScales
    known: ColumnScales
    static: ColumnScales

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays."""
        return {
            "target": self.target.to_dict(), "past": self.past.to_dict(),
            "known": self.known.to_dict(), "static": self.static.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Scales:
        """Return what `to_dict` was called on."""
        columns = (ColumnScales(**state[name]) for name in ("past", "known", "static"))
        return cls(SeriesScales(**state["target"]), *columns)

    def of_series(self, target: SeriesScales) -> Scales:
        """Return the same with the scales of other series."""
        return Scales(target, self.past, self.known, self.static)


@dataclass(eq=False)
class ScaledTable:
    """A table whose columns are scaled.

    Attributes
    ----------
    table : SeriesTable
    scales : Scales
    z : numpy.ndarray of float64, shape (N, D)
        The targets.
    past, known, static : numpy.ndarray of float64
        Shapes (N, P), (N, K) and (G, S).
    """

    table: SeriesTable
    scales: Scales
    z: Array
    past: Array
    known: Array
    static: Array

    @classmethod
    def of(cls, table: SeriesTable, scales: Scales) -> ScaledTable:
        """Scale a table."""
        z = scales.target.scaled(table.target, table.series_of(np.arange(len(table.target))))
        past, known = scales.past.scaled(table.past), scales.known.scaled(table.known)
        return cls(table, scales, z, past, known, scales.static.scaled(table.static))

    def past_of(self, windows: Windows) -> Array:
        """Return the targets that windows see, (M, L, D)."""
        return np.asarray(self.z[windows.past_rows])

    def unscaled(self, z: Array, windows: Windows) -> Array:
        """Return forecasts (M, H, D) in the targets' unit."""
        return self.scales.target.inverse(z, windows.series)

    def linear_inputs(self, windows: Windows, view: View) -> tuple[Array, Array]:
        """Return what the linear part sees of windows.

        Returns
        -------
        lags : numpy.ndarray, shape (M, J)
            The latest differences and columns of the past; the static columns too, unless the view
            is symmetric.
        known : numpy.ndarray, shape (M, H, K)
            Columns known of each step to come; K = 0 for a symmetric view.
        """
        differences = view.differences(self.past_of(windows))
        D, P = differences.shape[2], self.past.shape[1]
        steps = max(1, min(differences.shape[1], _MOST_LAGS // (D + P)))
        M = len(windows)
        weights = view.weights(steps)[:, None]
        columns = self.past[windows.past_rows[:, -steps:]] * (view.others * weights)
        parts = [(differences[:, -steps:] * weights).reshape(M, -1), columns.reshape(M, -1)]
        if view.symmetric:
            return np.concatenate(parts, axis=1), np.zeros((M, windows.future, 0))
        parts.append(self.static[windows.series])
        return np.concatenate(parts, axis=1), np.asarray(self.known[windows.future_rows])

    def wanted(self, windows: Windows, view: View) -> Array:
        """Return how the future differs from its anchors, (M, H, D)."""
        anchors = view.anchors(self.past_of(windows), windows.future)
        return np.asarray(self.z[windows.future_rows] - anchors)

    def limits(self, windows: Windows) -> tuple[Array, Array]:
        """Return what scaled forecasts never leave, (M, 1, D) each: far from all that is seen.

        A series that jumps as it never did in the training part makes linear parts say anything.
        """
        M, D = len(windows), self.z.shape[1]
        low, high = np.empty((M, 1, D)), np.empty((M, 1, D))
        for at in range(0, M, _BLOCK):
            seen = self.past_of(windows.take(slice(at, at + _BLOCK)))
            low[at : at + _BLOCK] = seen.min(axis=1, keepdims=True)
            high[at : at + _BLOCK] = seen.max(axis=1, keepdims=True)
        times = _FAR_OF_LOGS if self.scales.target.log else _FAR
        reach = times * np.maximum(high - low, _LEAST_RANGE)
        return low - reach, high + reach

    def width(self, windows: Windows) -> int:
        """Return how many numbers a window holds."""
        columns: int = self.z.shape[1] + self.past.shape[1] + self.known.shape[1]
        return columns * (windows.past + windows.future)
