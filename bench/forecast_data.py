"""The series that bench/forecast_table.py forecasts: three real sets, and a made-up table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rnncore import datasets

TEST = 0.15
"""Share of each series, at its end, that nobody has seen before the scores."""


@dataclass(frozen=True)
class Problem:
    """A table, and what a forecaster is told of it.

    Attributes
    ----------
    name, unit : str
    frame : pandas.DataFrame
        A row for each step and group.
    horizon : int
        Steps to forecast.
    roles : dict
        Arguments of `RNNForecaster` that say what the columns are; all others are its defaults.
    """

    name: str
    unit: str
    frame: pd.DataFrame
    horizon: int
    roles: dict[str, Any]

    @property
    def target(self) -> str:
        """The column to forecast."""
        return str(self.roles["target"])

    def series(self) -> dict[Any, pd.DataFrame]:
        """Return the rows of each group in the order of time."""
        ordered = self.frame.sort_values(self.roles["time"])
        if "group" not in self.roles:
            return {None: ordered}
        return dict(iter(ordered.groupby(self.roles["group"], sort=False)))

    def fitting_part(self) -> pd.DataFrame:
        """Return what a forecaster may see: all but the test part, rows in the table's order."""
        parts = [own.iloc[: cut(len(own))] for own in self.series().values()]
        return self.frame.loc[self.frame.index.isin(pd.concat(parts).index)]

    def test_part(self, window: int) -> pd.DataFrame:
        """Return the test part, and of each series `window` rows in front of it to look back at."""
        parts = [own.iloc[max(0, cut(len(own)) - window) :] for own in self.series().values()]
        return pd.concat(parts)


def cut(count: int) -> int:
    """Return the first row of the test part of a series."""
    return count - round(TEST * count)


def temperatures() -> Problem:
    """San Francisco 2010, hourly; one hour of March is missing."""
    loaded = datasets.load("sf-temps")
    frame = pd.DataFrame({"time": dates(loaded.time), "temp": loaded.values[:, 0]})
    roles = {"time": "time", "target": "temp", "irregular": "repair"}
    return Problem("sf-temps", "°F", frame, 24, roles)


def weather() -> Problem:
    """Seattle, daily, 2012 to 2015: the highest temperature, from four columns."""
    loaded = datasets.load("seattle-weather")
    columns = dict(zip(loaded.names, loaded.values.T, strict=True))
    frame = pd.DataFrame({"date": dates(loaded.time), **columns})
    roles = {"time": "date", "target": "temp_max", "past": ["precipitation", "temp_min", "wind"]}
    return Problem("seattle-weather", "°C", frame, 7, roles)


def stocks() -> Problem:
    """Five tickers' closing prices; a step is a trading day."""
    frames = []
    for ticker, series in datasets.load("stocks").items():
        columns = dict(zip(series.names, series.values.T, strict=True))
        own = {name: columns[name] for name in ("close", "volume")}
        frames.append(pd.DataFrame({"date": dates(series.time), "ticker": ticker, **own}))
    roles = {
        "time": "date", "target": "close", "group": "ticker", "past": "volume", "freq": "rows",
    }  # fmt: skip
    return Problem("stocks", "USD", pd.concat(frames, ignore_index=True), 5, roles)


def sales() -> Problem:
    """Three shops and two years of days, made up: see docs/forecasting.md."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2023-01-01", "2024-12-31")
    holiday = rng.random(len(days)) < 0.03
    shops = [("north", 100, 0.03, 20), ("south", 300, -0.05, 60), ("west", 60, 0.05, 10)]
    frames = [_shop(rng, days, holiday, *shop) for shop in shops]
    shuffled = pd.concat(frames).sample(frac=1, random_state=0)
    roles = {
        "time": "day", "target": "sales", "group": "shop", "future": ["holiday", "promo"],
        "irregular": "repair",
    }  # fmt: skip
    return Problem("sales", "pieces", shuffled.reset_index(drop=True), 14, roles)


def _shop(
    rng: np.random.Generator, days: pd.DatetimeIndex, holiday: np.ndarray, name: str,
    level: float, slope: float, swing: float,
) -> pd.DataFrame:  # fmt: skip
    """Trend, year and week, holidays, promotions, noise that lasts; three gaps."""
    N = len(days)
    promo = rng.random(N) < 0.1
    week = np.array([0.85, 0.9, 1.0, 1.2, 1.4, 0.75, 0.9])[days.day_of_week]
    noise = rng.standard_normal(N)
    for t in range(1, N):
        noise[t] += 0.7 * noise[t - 1]
    sold = level + slope * np.arange(N) + swing * np.sin(2 * np.pi * days.day_of_year / 365)
    sold = sold * week * np.where(holiday, 0.4, 1) * np.where(promo, 1.35, 1) * (1 + 0.06 * noise)
    kept = np.ones(N, bool)
    for gap in rng.integers(20, N - 30, 3):
        kept[gap : gap + rng.integers(2, 9)] = False
    frame = pd.DataFrame({"day": days, "shop": name, "sales": np.round(np.maximum(sold, 0))})
    return frame.assign(holiday=holiday, promo=promo)[kept]


def dates(time: np.ndarray) -> np.ndarray:
    """Return times in a unit that pandas has."""
    return time.astype("datetime64[s]")


PROBLEMS = {each.__name__: each for each in (temperatures, weather, stocks, sales)}
