"""Backtest: a forecaster fitted and tried again from several origins."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np

from rnncore._checks import positive_int, users_level
from rnncore._types import Array
from rnncore.estimators.forecasting.fitted import fit_panel, plan
from rnncore.estimators.forecasting.scores import ForecastScores
from rnncore.estimators.forecasting.series import cut, longest_segment, tail
from rnncore.estimators.forecasting.settings import Settings
from rnncore.estimators.tables.panel import Panel, RegularSeries
from rnncore.training.ranks import Ranks

_LOW, _HIGH = "lower end", "upper end"


@dataclass(eq=False)
class Backtest:
    """What forecasts from several origins were worth.

    Attributes
    ----------
    scores : ForecastScores
        Over all origins.
    origins : list of ForecastScores
        Of each, the earliest first.
    coverage : float
        Share of the values that the intervals held.
    wanted_coverage : float
        What they were to hold.
    """

    scores: ForecastScores
    origins: list[ForecastScores]
    coverage: float
    wanted_coverage: float

    def __repr__(self) -> str:
        held = f"intervals of {self.wanted_coverage:.0%} held {self.coverage:.0%} of the values"
        return f"{self.scores!r}\n  {held}"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        held = f"intervals of {self.wanted_coverage:.0%} held {self.coverage:.0%} of the values"
        return f"{self.scores.to_html()}<p>{held}</p>"


def run_backtest(
    panel: Panel, settings: Settings, origins: int, every: int | None, ranks: Ranks
) -> Backtest:
    """Fit to what came before each origin, forecast the steps behind it, and compare.

    An origin lies as many rows before the end of every series. Series with a gap in the window or
    in the steps behind it are left out of its errors.

    Raises
    ------
    ValueError
        If a series has too few rows in front of the first origin, or no origin has a series
        without a gap.

    Warns
    -----
    UserWarning
        If some origins are skipped, since every series has a gap there.
    """
    names, horizon = panel.target_names, settings.horizon
    every = horizon if every is None else positive_int("every", every)
    first = (origins - 1) * every + horizon
    shortest = min(len(each) for each in panel.series)
    if shortest <= first:
        raise ValueError(
            f"origins: expected fewer, for {origins} of them, {every} steps apart, reach back "
            f"{first} steps, and the shortest series has {shortest}"
        )
    folds, trials = [], []
    for back in _whole(panel, settings, range(first, horizon - 1, -every)):
        truth, forecasts = _trial(panel, settings, back, ranks)
        folds.append(ForecastScores.of(f"origin {back} steps back", names, truth, forecasts))
        trials.append((truth, forecasts))
    truth = np.concatenate([each for each, _ in trials])
    together = {
        method: np.concatenate([forecasts[method] for _, forecasts in trials])
        for method in trials[0][1]
    }
    low, high = together.pop(_LOW), together.pop(_HIGH)
    scores = ForecastScores.of(f"backtest, {len(folds)} origins", names, truth, together)
    held = float(((low <= truth) & (truth <= high)).mean())
    return Backtest(scores, folds, held, settings.coverage)


def _whole(panel: Panel, settings: Settings, backs: Sequence[int]) -> list[int]:
    """Return the origins at which some series has no gap; say which others are skipped."""
    kept, past, horizon = [], 0, settings.horizon
    for back in backs:
        past = plan(_until(panel, back), settings)[2]
        if longest_segment(_come(panel, back, past, horizon)) == past + horizon:
            kept.append(back)
    wanted = f"{past} + {horizon} consecutive steps (window + horizon) of some series there"
    if not kept:
        raise ValueError(f"origins: expected {wanted}, got a gap at each of {len(backs)} origins")
    skipped = [back for back in backs if back not in kept]
    if skipped:
        warnings.warn(
            f"origins: expected {wanted}, got a gap, and skipped those {skipped} steps back",
            UserWarning,
            stacklevel=users_level(),
        )
    return kept


def _until(panel: Panel, back: int) -> Panel:
    """Return what stands in front of an origin."""
    return replace(panel, series=[cut(each, len(each) - back) for each in panel.series])


def _come(panel: Panel, back: int, past: int, horizon: int) -> list[RegularSeries]:
    """Return the window and what came behind it, of each series."""
    come = [cut(each, len(each) - back + horizon) for each in panel.series]
    return [tail(each, past + horizon) for each in come]


def _trial(
    panel: Panel, settings: Settings, back: int, ranks: Ranks
) -> tuple[Array, dict[str, Array]]:
    """Return what came behind one origin, (M, H, D), and all forecasts of it."""
    settings = replace(settings, rng=deepcopy(settings.rng))  # each origin as a fit of its own
    fitted, _ = fit_panel(_until(panel, back), settings, ranks)
    table, own = fitted.table(_come(panel, back, fitted.core.past, settings.horizon))
    windows = own.windows(table)
    interval = own.values(table, windows, settings.coverage)
    forecasts = own.forecasts(table, windows)
    return windows.truth, {**forecasts, _LOW: interval[..., 0], _HIGH: interval[..., 2]}
