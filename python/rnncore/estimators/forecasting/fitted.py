"""FittedSeries: a forecaster of regular series, made of numbers and times, without frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncore._checks import inner_fraction
from rnncore._types import Array
from rnncore.estimators.forecasting.baselines import Ridge
from rnncore.estimators.forecasting.core import ForecastCore
from rnncore.estimators.forecasting.fitting import (
    Fit,
    FitOptions,
    all_forecasts,
    fit_table,
    parts,
)
from rnncore.estimators.forecasting.recurrent import ResidualSamples
from rnncore.estimators.forecasting.scaled_table import ScaledTable, Scales
from rnncore.estimators.forecasting.scales import SeriesScales
from rnncore.estimators.forecasting.scores import ForecastScores, r_squared
from rnncore.estimators.forecasting.series import (
    cut,
    followed,
    longest_segment,
    season_of,
    table_of,
    window_of,
)
from rnncore.estimators.forecasting.settings import Settings
from rnncore.estimators.forecasting.windows import SeriesTable, Windows, windows_between
from rnncore.estimators.tables.calendar import choose as choose_calendar
from rnncore.estimators.tables.frequency import Frequency
from rnncore.estimators.tables.panel import Panel, RegularSeries
from rnncore.training import History
from rnncore.training.loop import fit_samples
from rnncore.training.ranks import Ranks, joined, share_random

_HUGE = 1e100  # whose squares still have a sum


@dataclass(eq=False)
class FittedSeries:
    """What forecasts the series that it was fitted to, and others like them.

    Attributes
    ----------
    keys : list of tuple
        The groups that it knows.
    names : list of str
        Of the targets.
    frequency : Frequency
    calendar : list of str
        Features of the calendar.
    season : int
        0 where there is none.
    core : ForecastCore
    ridge : Ridge
    """

    keys: list[tuple[Any, ...]]
    names: list[str]
    frequency: Frequency
    calendar: list[str]
    season: int
    core: ForecastCore
    ridge: Ridge

    def table(
        self, series: Sequence[RegularSeries], *, whole: bool = False
    ) -> tuple[SeriesTable, FittedSeries]:
        """Return a table of series, and this forecaster with their scales.

        A group that was fitted keeps its scales. Another one is scaled by what stands in front of
        the first step that can be forecast, or by the whole table, if all of it is the past.
        """
        table = table_of(series, self.calendar)
        ends = table.bounds[1:] if whole else self._origins(table)
        index = {key: g for g, key in enumerate(self.keys)}
        places = np.array([index.get(each.key, -1) for each in series])
        return table, self._scaled(table, ends, places)

    def completed(self, table: SeriesTable, cuts: Array) -> FittedSeries:
        """Return this forecaster with scales of groups too that had no row in front of their cut.

        The table is that of the fit; such groups had no part in it.
        """
        places = np.where(cuts > table.bounds[:-1], np.arange(len(cuts)), -1)
        return self if (places >= 0).all() else self._scaled(table, table.bounds[1:], places)

    def _scaled(self, table: SeriesTable, ends: Array, places: Array) -> FittedSeries:
        """Return this forecaster with the scales of places (G,), and of rows up to `ends`."""

        def scales_of(scales: Scales) -> Scales:
            fitted = scales.target
            own = SeriesScales.measured(table, ends, fitted.log)
            return scales.of_series(own.replaced(fitted, places))

        core = self.core.with_scales(scales_of(self.core.scales))
        ridge = self.ridge.with_scales(scales_of(self.ridge.scales))
        return replace(self, core=core, ridge=ridge)

    def forecast(self, series: Sequence[RegularSeries], coverage: float | None) -> Array:
        """Return what follows each series, (G, H, D), or with an interval (G, H, D, 3)."""
        core = self.core
        ahead = [followed(each, core.past, core.future, self.frequency) for each in series]
        fitted = self.table(series, whole=True)[1]
        table = table_of(ahead, self.calendar)
        windows = Windows(table, table.bounds[:-1], core.past, core.future)
        return fitted.values(table, windows, coverage)

    def values(self, table: SeriesTable, windows: Windows, coverage: float | None) -> Array:
        """Return forecasts (M, H, D), or with an interval (M, H, D, 3)."""
        core = self.core
        if coverage is None:
            values = core.values(table, windows)
        else:
            values = core.interval(table, windows, coverage)
        if not np.isfinite(values).all():
            raise ValueError(
                "data: expected numbers of the size that was fitted, got some whose forecast is "
                "not finite"
            )
        return values

    def _origins(self, table: SeriesTable) -> Array:
        """Return the row of each series that its first window forecasts first, or its end, (G,)."""
        past, ends = self.core.past, table.bounds[1:].copy()
        found = windows_between(table, past, 1, table.bounds[:-1], ends)
        series, first = np.unique(found.series, return_index=True)
        ends[series] = found.starts[first] + past
        return ends

    def coverage(self, usual: float, asked: float | None) -> float:
        """Return the coverage to use; ValueError for one that no quantiles were learnt for."""
        wanted = usual if asked is None else inner_fraction("coverage", asked)
        if not self.core.levels:
            return wanted
        learnt = round(self.core.levels[-1] - self.core.levels[0], 12)
        if abs(wanted - learnt) > 1e-9:
            raise ValueError(
                f"coverage: expected {learnt}, which the quantiles were learnt for, got {wanted}"
            )
        return learnt

    def windows(self, table: SeriesTable) -> Windows:
        """Return all windows of a table; ValueError if there is none."""
        core, bounds = self.core, table.bounds
        found = windows_between(table, core.past, core.future, bounds[:-1], bounds[1:])
        if len(found) == 0:
            raise ValueError(
                f"data: expected {core.past} + {core.future} consecutive steps (window + horizon) "
                "of some series, got no such piece"
            )
        return found

    def forecasts(self, table: SeriesTable, windows: Windows) -> dict[str, Array]:
        """Return the forecasts of all methods by name, (M, H, D) each."""
        return all_forecasts(table, windows, self.core, self.ridge, self.season)

    def scores(self, what: str, table: SeriesTable, windows: Windows) -> ForecastScores:
        """Return the errors on some windows, beside those of the simple methods."""
        return ForecastScores.of(what, self.names, windows.truth, self.forecasts(table, windows))

    def r_squared(self, table: SeriesTable) -> float:
        """Return R2, the mean over targets, of all windows of a table."""
        windows = self.windows(table)
        return r_squared(windows.truth, self.values(table, windows, None))

    def train_once(
        self, series: Sequence[RegularSeries], settings: Settings, ranks: Ranks
    ) -> History:
        """Train the network on all windows of some series, one epoch; nothing else changes."""
        table, own = self.table(series)
        core = own.core
        steps = 1 if core.recursive else core.future
        found = windows_between(table, core.past, steps, table.bounds[:-1], table.bounds[1:])
        if len(found) == 0:
            raise ValueError(
                f"data: expected {core.past} + {steps} consecutive steps of some series, got no "
                "such piece"
            )
        scaled = ScaledTable.of(table, core.scales)
        samples = ResidualSamples(scaled, found, core.reading, core.model.dtype)
        core.model.optimizer.lr = settings.learning_rate
        return fit_samples(
            core.model, samples, epochs=1, batch_size=settings.batch_size,
            clip_norm=settings.clip_norm, rng=settings.rng, progress=settings.progress,
            comm=ranks,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, arrays and what files can hold, without the model."""
        return {
            "keys": [list(key) for key in self.keys], "names": self.names,
            "frequency": self.frequency, "calendar": self.calendar, "season": self.season,
            "core": self.core.to_dict(), "ridge": self.ridge.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], model: Any) -> FittedSeries:
        """Return what `to_dict` was called on, with its model."""
        return cls(
            [tuple(key) for key in state["keys"]], state["names"], state["frequency"],
            state["calendar"], state["season"], ForecastCore.from_dict(state["core"], model),
            Ridge.from_dict(state["ridge"]),
        )  # fmt: skip


def fit_panel(panel: Panel, settings: Settings, comm: Any = None) -> tuple[FittedSeries, Fit]:
    """Fit a forecaster to all series of a panel; `comm` are the ranks that share the training.

    Raises
    ------
    ValueError
        If the series are too short for the window, the horizon and a validation part.
    """
    series, frequency = panel.series, panel.frequency
    horizon = settings.horizon
    if settings.recursive and panel.roles.past:
        raise ValueError(
            "past: expected no columns with strategy='recursive', which would have to forecast "
            f"them too, got {panel.roles.past}; make them targets, or use strategy='direct'"
        )
    season, cuts, past = plan(panel, settings)
    calendar = settings.calendar
    if calendar is None:
        seen = [each.local[:stop] for each, stop in zip(series, cuts, strict=True)]
        calendar = choose_calendar(frequency, np.concatenate(seen))
    table = table_of(series, calendar)
    ends = table.bounds[:-1] + np.array(cuts)
    _refuse_huge(table, panel)
    _refuse_short(table, ends, past, horizon, longest_segment(series))
    options = FitOptions(
        past=past, future=horizon, season=season, recursive=settings.recursive,
        linear=settings.linear, log=settings.log, through=bool(panel.roles.future),
        levels=settings.levels, core=settings.layers, learning_rate=settings.learning_rate,
        max_iter=settings.max_iter, batch_size=settings.batch_size, clip_norm=settings.clip_norm,
        patience=settings.patience, rng=settings.rng, progress=settings.progress,
    )  # fmt: skip
    names = panel.target_names
    with joined(comm, "sum") as ranks:
        share_random(ranks, [settings.rng])
        fit = fit_table(table, ends, names, options, ranks)
    keys = [each.key for each in series]
    fitted = FittedSeries(keys, names, frequency, calendar, season, fit.core, fit.ridge)
    return fitted.completed(table, ends), fit


def plan(panel: Panel, settings: Settings) -> tuple[int, list[int], int]:
    """Return the season, the first row of each series' validation part, and the window."""
    series, frequency, horizon = panel.series, panel.frequency, settings.horizon
    season = season_of(frequency) if settings.season is None else settings.season
    cuts = [len(each) - _held(len(each), horizon, settings) for each in series]
    train = longest_segment([cut(each, stop) for each, stop in zip(series, cuts, strict=True)])
    return season, cuts, settings.window or window_of(frequency, horizon, season, train)


def _held(count: int, horizon: int, settings: Settings) -> int:
    """Return the rows of a series' validation part."""
    return min(count, max(horizon, round(settings.validation_fraction * count)))


def _refuse_huge(table: SeriesTable, panel: Panel) -> None:
    names = [*panel.target_names, *panel.past_names, *panel.future_names]
    for name, values in zip(
        names, np.concatenate([table.target, table.past, table.known], axis=1).T, strict=False
    ):
        most = np.nanmax(np.abs(values))
        if most > _HUGE:
            raise ValueError(f"column {name!r}: expected numbers up to {_HUGE:g}, got {most:g}")


def _refuse_short(table: SeriesTable, cuts: Array, past: int, horizon: int, longest: int) -> None:
    train, validation = parts(table, cuts, past, horizon)
    for name, windows in (("training", train), ("validation", validation)):
        if len(windows) == 0:
            raise ValueError(
                f"data: expected {past} + {horizon} consecutive steps (window + horizon) in the "
                f"{name} part of some series, got none; the longest piece without gaps has "
                f"{longest} steps in all: pass a smaller window or horizon"
            )
