"""Settings: the parameters of RNNForecaster, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import (
    boolean,
    choice,
    inner_fraction,
    not_negative,
    number,
    positive_int,
)
from rnncore.estimators._estimator import random_source
from rnncore.estimators._network import CELLS
from rnncore.estimators.tables.calendar import calendar_features


@dataclass(frozen=True)
class Settings:
    """The parameters of a forecaster; see `RNNForecaster` for what they mean.

    Attributes
    ----------
    season, calendar : int, list of str or None
        None: as the times say.
    patience : int or None
        Epochs without improvement; None: all epochs are trained.
    """

    horizon: int
    window: int | None
    season: int | None
    calendar: list[str] | None
    recursive: bool
    linear: bool
    log: bool
    quantiles: bool
    coverage: float
    cell: str
    hidden_size: int
    num_layers: int
    dropout: float
    learning_rate: float
    max_iter: int
    batch_size: int
    clip_norm: float | None
    validation_fraction: float
    patience: int | None
    rng: np.random.Generator
    progress: bool

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Settings:
        """Check the parameters of an estimator, by name; errors name the parameter."""
        at = params.__getitem__
        window, season, log = at("window"), at("season"), at("log")
        early = boolean("early_stopping", at("early_stopping"))
        return cls(
            horizon=positive_int("horizon", at("horizon")),
            window=None if window is None else positive_int("window", window),
            season=_season(season),
            calendar=_calendar(at("calendar")),
            recursive=choice("strategy", at("strategy"), ("direct", "recursive")) == "recursive",
            linear=boolean("linear", at("linear")),
            log=True if isinstance(log, str) and log == "auto" else boolean("log", log),
            quantiles=choice("interval", at("interval"), ("residuals", "quantile")) == "quantile",
            coverage=inner_fraction("coverage", at("coverage")),
            cell=choice("cell", at("cell"), [*CELLS]),
            hidden_size=positive_int("hidden_size", at("hidden_size")),
            num_layers=positive_int("num_layers", at("num_layers")),
            dropout=number("dropout", at("dropout")),
            learning_rate=not_negative("learning_rate", at("learning_rate")),
            max_iter=positive_int("max_iter", at("max_iter")),
            batch_size=positive_int("batch_size", at("batch_size")),
            clip_norm=at("clip_norm"),
            validation_fraction=inner_fraction("validation_fraction", at("validation_fraction")),
            patience=positive_int("n_iter_no_change", at("n_iter_no_change")) if early else None,
            rng=random_source(at("random_state")),
            progress=boolean("verbose", at("verbose")),
        ).checked()

    def checked(self) -> Settings:
        """Return these settings; ValueError for two that exclude each other."""
        if self.recursive and self.quantiles:
            raise ValueError(
                "interval: expected 'residuals' with strategy='recursive', got 'quantile'"
            )
        return self

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles that the network says; empty: it says the expected value."""
        tail = (1 - self.coverage) / 2
        return (tail, 0.5, 1 - tail) if self.quantiles else ()

    def layers(self, input_size: int) -> Any:
        """Return untrained recurrent layers."""
        return CELLS[self.cell](
            input_size, self.hidden_size, self.num_layers, dropout=self.dropout, rng=self.rng
        )


def _season(value: Any) -> int | None:
    if isinstance(value, str) and value == "auto":
        return None
    if value is None:
        return 0
    return positive_int("season", value)


def _calendar(value: Any) -> list[str] | None:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"calendar: expected 'auto', None or a list of names, got {value!r}")
        return None
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"calendar: expected 'auto', None or a list of names, got {value!r}")
    calendar_features(np.zeros(0, "datetime64[s]"), value)  # which knows the names
    return list(value)
