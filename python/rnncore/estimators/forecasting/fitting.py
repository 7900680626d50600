"""Fitting a forecaster of tables: choose on the validation part, train, solve again on all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array, Seed
from rnncore.estimators.forecasting.baselines import Ridge, naive, seasonal_naive
from rnncore.estimators.forecasting.core import LEVELS, ForecastCore
from rnncore.estimators.forecasting.linear import Choice, LinearPart, choose
from rnncore.estimators.forecasting.recurrent import Reading, ResidualSamples, build
from rnncore.estimators.forecasting.scaled_table import ScaledTable, Scales
from rnncore.estimators.forecasting.scales import ColumnScales, SeriesScales
from rnncore.estimators.forecasting.scores import FORECASTER, ForecastScores
from rnncore.estimators.forecasting.views import views
from rnncore.estimators.forecasting.windows import SeriesTable, Windows, windows_between
from rnncore.losses import Quantile
from rnncore.optim import Adam
from rnncore.training import History
from rnncore.training.loop import fit_samples
from rnncore.training.ranks import Ranks

_MOST_REACH = 2  # times that of the training part's: else the rows behind it are outliers


@dataclass(frozen=True)
class FitOptions:
    """What `fit_table` is asked for; `core` makes the recurrent layers for an input size."""

    past: int
    future: int
    season: int
    recursive: bool
    linear: bool
    log: bool
    through: bool
    levels: tuple[float, ...]
    core: Callable[[int], Any]
    learning_rate: float
    max_iter: int
    batch_size: int
    clip_norm: float | None
    patience: int | None
    rng: Seed
    progress: bool


@dataclass(eq=False)
class Fit:
    """What `fit_table` found.

    Attributes
    ----------
    core : ForecastCore
    ridge : Ridge
    history : History
    scores : ForecastScores
        On the validation part, by models that saw the training part alone.
    choice : Choice
    """

    core: ForecastCore
    ridge: Ridge
    history: History
    scores: ForecastScores
    choice: Choice


def fit_table(
    table: SeriesTable, cuts: Array, names: list[str], options: FitOptions, ranks: Ranks
) -> Fit:
    """Fit a forecaster.

    Scales, linear parts and the network are made of the training part: the rows of each series in
    front of its cut. How targets are looked at, the penalty and the epoch to stop at are chosen by
    the validation part behind it; the errors there are kept for intervals and scores. At last the
    linear parts are solved again on both. All but the training is done on the first rank alone: in
    another place the same sums may be rounded otherwise.

    Parameters
    ----------
    table : SeriesTable
    cuts : numpy.ndarray of int64, shape (G,)
        First row of each series' validation part.
    names : list of str
        The targets', for the scores.
    options : FitOptions
    ranks : Ranks
        That share the training.
    """
    direct = parts(table, cuts, options.past, options.future)
    own = parts(table, cuts, options.past, 1) if options.recursive else direct
    plain, best, reading = ranks.on_first(lambda: _chosen(table, cuts, direct, own, options))
    core, history = _train(best.scaled, reading, own, options, ranks)

    def measured() -> tuple[Scales, Array, LinearPart, Ridge, ForecastScores]:
        core.measure_errors(best.scaled, direct[1])
        ridge = Ridge.of(plain, direct[0])
        forecasts = all_forecasts(table, direct[1], core, ridge, options.season)
        scores = ForecastScores.of("validation part", names, direct[1].truth, forecasts)
        return core.scales, core.errors, *_again(table, core, best, plain, options), scores

    core.scales, core.errors, core.reading.linear, ridge, scores = ranks.on_first(measured)
    return Fit(core, ridge, history, scores, best)


def _chosen(
    table: SeriesTable,
    cuts: Array,
    direct: tuple[Windows, Windows],
    own: tuple[Windows, Windows],
    options: FitOptions,
) -> tuple[Choice, Choice, Reading]:
    """Choose by the validation part: for plain values, and for the forecaster, with its reading."""
    candidates = _candidates(table, cuts, options)
    unit = candidates[0][0].scales.target.std  # of plain values
    ranked = choose(candidates, *direct, linear=True, unit=unit)
    plain = next(each for each in ranked if not each.scaled.scales.target.log)
    if options.recursive or not options.linear:
        ranked = choose(candidates, *own, linear=options.linear, unit=unit)
    best = ranked[0]
    if options.linear:
        others = table.past.shape[1] > 0
        more = [(best.scaled, view) for view in best.view.shrinking(others)]
        best = min([best, *choose(more, *own, linear=True, unit=unit)], key=lambda c: c.error)
    linear = best.part(own[0])
    return plain, best, Reading.measured(best.scaled, own[0], best.view, linear, options.through)


def _again(
    table: SeriesTable, core: ForecastCore, best: Choice, plain: Choice, options: FitOptions
) -> tuple[LinearPart, Ridge]:
    """Solve the linear parts on all rows."""
    ends, linear = table.bounds[1:], core.reading.linear
    again = best.part(parts(table, ends, options.past, 1 if core.recursive else core.future)[0])
    if again.reach <= _MOST_REACH * max(1.0, linear.reach):
        linear = again
    return linear, Ridge.of(plain, parts(table, ends, options.past, options.future)[0])


def _train(
    scaled: ScaledTable,
    reading: Reading,
    own: tuple[Windows, Windows],
    options: FitOptions,
    ranks: Ranks,
) -> tuple[ForecastCore, History]:
    """Train the network on what the linear part leaves over."""
    dtype = np.dtype(np.float32)
    samples = [ResidualSamples(scaled, part, reading, dtype) for part in own]
    layers = options.core(reading.inputs(scaled, own[0].take(slice(0, 1)), dtype).shape[2])
    loss = Quantile(levels=options.levels) if options.levels else "mean_squared_error"
    network = build(samples[0], layers, options.levels, loss, options.rng)
    history = fit_samples(
        network, *samples, epochs=options.max_iter, batch_size=options.batch_size,
        optimizer=Adam(network, options.learning_rate), clip_norm=options.clip_norm,
        patience=options.patience, rng=options.rng, progress=options.progress,
        comm=ranks,
    )  # fmt: skip
    errors = np.zeros((len(LEVELS), options.future, scaled.z.shape[1]))
    core = ForecastCore(
        options.past, options.future, options.recursive, scaled.scales, reading, network,
        options.levels, errors,
    )  # fmt: skip
    return core, history


def parts(table: SeriesTable, cuts: Array, past: int, future: int) -> tuple[Windows, Windows]:
    """Return the windows in front of the cuts, and those whose future lies behind them."""
    starts, ends = table.bounds[:-1], table.bounds[1:]
    return (
        windows_between(table, past, future, starts, cuts),
        windows_between(table, past, future, cuts, ends, reach=past),
    )


def _candidates(table: SeriesTable, cuts: Array, options: FitOptions) -> list[Any]:
    """Return scaled tables, that of plain values first, with the views that they allow."""
    rows = [np.arange(a, b) for a, b in zip(table.bounds[:-1], cuts, strict=True)]
    seen = np.concatenate(rows)
    columns = [ColumnScales.measured(part[seen]) for part in (table.past, table.known)]
    columns.append(ColumnScales.measured(table.static))
    y = table.target[seen]
    logs = [False, True] if options.log and np.nanmin(y) >= 0 and np.nanmax(y) > 0 else [False]
    found = []
    for log in logs:
        scales = Scales(SeriesScales.measured(table, cuts, log), *columns)
        scaled = ScaledTable.of(table, scales)
        found += [(scaled, view) for view in views(options.past, options.season)]
    return found


def all_forecasts(
    table: SeriesTable, windows: Windows, core: ForecastCore, ridge: Ridge, season: int
) -> dict[str, Array]:
    """Return what all methods say of some windows of a table, (M, H, D) each."""
    forecasts = {FORECASTER: core.values(table, windows), "naive": naive(windows)}
    if 0 < season <= windows.past:
        forecasts["seasonal naive"] = seasonal_naive(windows, season)
    return {**forecasts, "ridge regression": ridge.values(table, windows)}
