"""ForecastCore: what forecasts, in numbers: scales, linear part, network, errors seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.forecasting.recurrent import Reading, predict_scaled
from rnncore.estimators.forecasting.scaled_table import ScaledTable, Scales
from rnncore.estimators.forecasting.windows import SeriesTable, Windows

_MEASURED = 10  # forecasts of a series, from which its own errors are known
LEVELS = np.arange(1, 200) / 200  # of the quantiles of errors that are kept
_FEW = 10  # forecasts that share no step, under which those of all steps are counted together
_BLOCK = 256  # windows that are forecast step by step at a time


@dataclass(eq=False)
class ForecastCore:
    """A trained forecaster of tables.

    Attributes
    ----------
    past, future : int
        L, and H, the steps of a forecast.
    recursive : bool
        Whether each step is forecast from the forecasts of those in front of it.
    scales : Scales
    reading : Reading
    model : ManyToOne or ManyToMany
    levels : tuple of float
        Quantiles that the model says; empty: it says the expected value.
    errors : numpy.ndarray, shape (199, H, D)
        What intervals are made of, in each series' unit: quantiles at `LEVELS`, on the validation
        part, of the errors; with levels, of how far the truth was outside of what the model said.
        They reach further by as much as few forecasts make uncertain.
    """

    past: int
    future: int
    recursive: bool
    scales: Scales
    reading: Reading
    model: Any
    levels: tuple[float, ...]
    errors: Array

    def values(self, table: SeriesTable, windows: Windows) -> Array:
        """Return forecasts (M, H, D) in the targets' unit."""
        scaled = ScaledTable.of(table, self.scales)
        z = self.scaled_values(scaled, windows)
        return scaled.unscaled(z[..., z.shape[-1] // 2], windows)

    def interval(self, table: SeriesTable, windows: Windows, coverage: float) -> Array:
        """Return lower end, forecast and upper end, (M, H, D, 3).

        Without levels the ends lie as far from the forecast as the quantiles of the errors. With
        them they are those of the model, moved apart by as much as the validation part needed
        (Romano, Patterson and Candes, "Conformalized quantile regression", 2019).
        """
        scaled = ScaledTable.of(table, self.scales)
        z = self.scaled_values(scaled, windows)
        if self.levels:
            high = _at(self.errors, coverage)
            low = -high
        else:
            low, high = (_at(self.errors, share) for share in _tails(coverage))
        wider = self.scales.target.spread[windows.series][:, None]
        low, high = low * wider, high * wider
        middle = z.shape[-1] // 2
        point = z[..., middle]  # the same as without an interval, which never leaves it out
        ends = np.minimum(z[..., 0] + low, point), np.maximum(z[..., -1] + high, point)
        limits = scaled.limits(windows)
        z = np.stack([np.clip(each, *limits) for each in (ends[0], point, ends[1])], axis=-1)
        return np.stack([scaled.unscaled(z[..., i], windows) for i in range(3)], axis=-1)

    def measure_errors(self, scaled: ScaledTable, windows: Windows) -> None:
        """Set `errors` by what the model says of windows that it was not trained on."""
        z, truth = self.scaled_values(scaled, windows), scaled.z[windows.future_rows]
        spread = _spread(np.abs(truth - z[..., z.shape[-1] // 2]), windows)
        if self.levels:
            outside = np.maximum(z[..., 0] - truth, truth - z[..., -1])
        else:
            outside = truth - z[..., 0]
        outside = outside / spread[windows.series][:, None]
        self.errors = _kept(outside, two_sided=not self.levels)
        target = replace(self.scales.target, spread=spread)
        self.scales = self.scales.of_series(target)

    def scaled_values(self, scaled: ScaledTable, windows: Windows) -> Array:
        """Return what the model says of scaled targets, (M, H, D, Q)."""
        Q = max(1, len(self.levels))
        if not self.recursive:
            z = predict_scaled(self.model, scaled, windows, self.reading, Q)
            return np.asarray(np.clip(z, *(each[..., None] for each in scaled.limits(windows))))
        M, D = len(windows), scaled.z.shape[1]
        result = np.empty((M, windows.future, D, Q))
        for at in range(0, M, _BLOCK):
            which = slice(at, at + _BLOCK)
            result[which] = self._step_by_step(*apart(scaled, windows.take(which)))
        return result

    def with_scales(self, scales: Scales) -> ForecastCore:
        """Return the same of other series."""
        return replace(self, scales=scales)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays, without the model."""
        return {
            "past": self.past, "future": self.future, "recursive": self.recursive,
            "scales": self.scales.to_dict(), "reading": self.reading.to_dict(),
            "levels": self.levels, "errors": self.errors,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], model: Any) -> ForecastCore:
        """Return what `to_dict` was called on, with its model."""
        return cls(
            state["past"], state["future"], state["recursive"], Scales.from_dict(state["scales"]),
            Reading.from_dict(state["reading"]), model, tuple(state["levels"]), state["errors"],
        )  # fmt: skip

    def _step_by_step(self, scaled: ScaledTable, windows: Windows) -> Array:
        """Forecast windows that share no row; their future targets are overwritten."""
        steps, limits = [], scaled.limits(windows)
        for h in range(windows.future):
            one = Windows(scaled.table, windows.starts + h, windows.past, 1)
            steps.append(
                np.clip(predict_scaled(self.model, scaled, one, self.reading, 1)[..., 0], *limits)
            )
            scaled.z[one.future_rows] = steps[-1]
        return np.concatenate(steps, axis=1)[..., None]


def _spread(errors: Array, windows: Windows) -> Array:
    """Return the mean error of each series by that of all, (G, D), of errors (M, H, D).

    Where a series has few windows, or an error is 0: 1.
    """
    of_windows, series = errors.mean(axis=1), windows.series
    G = len(windows.table.rows)
    counts = np.bincount(series, minlength=G)[:, None]
    sums = np.stack([np.bincount(series, part, minlength=G) for part in of_windows.T], axis=1)
    own, all_of_them = sums / np.maximum(counts, 1), of_windows.mean(axis=0)
    known = (counts >= _MEASURED) & (own > 0)
    return np.where(known, own / np.where(all_of_them > 0, all_of_them, 1), 1.0)


def _kept(errors: Array, *, two_sided: bool) -> Array:
    """Return the quantiles to keep, (199, H, D), of errors (M, H, D).

    As in split conformal prediction (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman,
    "Distribution-free predictive inference for regression", 2018) an interval that is to hold a
    share s of the values holds (m + 1) s of m errors; with all of them held it can't reach further.
    Windows overlap, so that m is M / H, and 1 at least. Under ten, the sizes of the errors at all
    steps are counted together.
    """
    M, H, D = errors.shape
    m = max(1, M // H)
    shares = np.abs(2 * LEVELS - 1) if two_sided else LEVELS
    shares = np.minimum(1, (m + 1) * shares / m)
    sides = np.sign(LEVELS - 0.5)
    if m < _FEW:
        pooled = errors.reshape(M * H, 1, D)
        if two_sided:
            ends = sides[:, None, None] * np.quantile(np.abs(pooled), shares, axis=0)
        else:
            ends = np.quantile(pooled, shares, axis=0)
        return np.repeat(ends, H, axis=1)
    places = (1 + sides * shares) / 2 if two_sided else shares
    return np.asarray(np.quantile(errors, places, axis=0))


def _tails(coverage: float) -> tuple[float, float]:
    return (1 - coverage) / 2, (1 + coverage) / 2


def _at(errors: Array, share: float) -> Array:
    """Return the quantile of errors (199, H, D) at a share, between those that are kept."""
    place = np.clip(share * 200 - 1, 0, len(errors) - 1)
    below = int(place)
    above, part = min(below + 1, len(errors) - 1), place - below
    return np.asarray(errors[below] * (1 - part) + errors[above] * part)


def apart(scaled: ScaledTable, windows: Windows) -> tuple[ScaledTable, Windows]:
    """Return a table in which each window is a series of its own, and these windows."""
    rows = np.concatenate([windows.past_rows, windows.future_rows], axis=1)
    (M, T), series = rows.shape, windows.series
    flat, table = rows.ravel(), scaled.table
    starts = np.arange(M) * T
    copied = SeriesTable(
        table.target[flat], table.past[flat], table.known[flat], table.static[series],
        np.append(starts, M * T), np.stack([starts, starts + T], axis=1),
    )  # fmt: skip
    scales = scaled.scales.of_series(scaled.scales.target.taken(series))
    arrays = scaled.z[flat], scaled.past[flat], scaled.known[flat], scaled.static[series]
    return ScaledTable(copied, scales, *arrays), Windows(
        copied, starts, windows.past, windows.future
    )
