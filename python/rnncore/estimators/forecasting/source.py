"""Source: where forecasts begin: the rows that are remembered, and how new ones are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rnncore.estimators.forecasting.fitted import FittedSeries
from rnncore.estimators.forecasting.frames import (
    Answer,
    empty_like,
    panel_from_dict,
    panel_to_dict,
    ready,
)
from rnncore.estimators.forecasting.series import joined, tail
from rnncore.estimators.tables.future import read_future
from rnncore.estimators.tables.panel import Panel, RegularSeries
from rnncore.estimators.tables.panel_reading import read_panel

_ROLES = ("target", "group", "past", "future", "static")
_DRAWN = 3  # horizons of the past that are kept, for pictures


@dataclass(eq=False)
class Source:
    """The last rows of each series that was fitted, and what the caller's table was like.

    Attributes
    ----------
    panel : Panel
    example : Any
        The caller's table without its rows; the number of dimensions of an array.
    """

    panel: Panel
    example: Any

    @classmethod
    def of(cls, panel: Panel, data: Any, fitted: FittedSeries) -> Source:
        """Keep the rows that forecasts and pictures look back to."""
        rows = max(fitted.core.past, _DRAWN * fitted.core.future)
        kept = replace(panel, series=[tail(each, rows) for each in panel.series])
        return cls(kept, empty_like(data))

    def gone_on(self, panel: Panel, data: Any, fitted: FittedSeries) -> Source:
        """Keep the rows of another table; groups that end later here stay as they were."""
        later = Source.of(panel, data, fitted)
        new = {each.key: each for each in later.panel.series}
        numbered = panel.roles.time is None and panel.kind.type == "integer"  # always from 0 on
        kept = [
            each
            for each in self.panel.series
            if each.key not in new or (not numbered and each.time[-1] > new[each.key].time[-1])
        ]
        new |= {each.key: each for each in kept}
        series = [new.pop(each.key) for each in self.panel.series]
        return Source(replace(later.panel, series=[*series, *new.values()]), later.example)

    def read(self, data: Any, params: Mapping[str, Any]) -> Panel:
        """Return the series of another table with the same columns and steps."""
        known = self.panel
        roles = {name: getattr(known.roles, name) for name in _ROLES}
        return read_panel(
            data, time=known.roles.time, freq=known.frequency, timezone=params["timezone"],
            irregular=params["irregular"], encoding=known.encoding, **roles,
        )  # fmt: skip

    def read_on(self, data: Any, params: Mapping[str, Any], past: int) -> Panel:
        """Return the same, behind the last `past` rows where they go on from these."""
        panel = self.read(data, params)
        known = {each.key: tail(each, past) for each in self.panel.series}
        series = [joined(known.get(each.key), each, panel.frequency) for each in panel.series]
        return replace(panel, series=series)

    def answer(
        self, data: Any, future: Any, fitted: FittedSeries, coverage: float | None,
        params: Mapping[str, Any],
    ) -> Answer:  # fmt: skip
        """Return the forecasts that follow the rows of a table, or those remembered.

        A series that ends with too few steps in a row is left out, with a warning.
        """
        past = fitted.core.past
        panel = ready(self.panel if data is None else self.read_on(data, params, past), past)
        if future is not None:
            if not panel.roles.future:
                raise ValueError("future: expected None, since no column is known ahead")
            later = read_future(future, panel, fitted.core.future)
            panel = replace(panel, series=_with_ahead(panel.series, later))
        example = self.example if data is None else empty_like(data)
        return Answer.behind(panel, fitted, coverage, example)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, arrays and what files can hold."""
        return panel_to_dict(self.panel, self.example)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Source:
        """Return what `to_dict` was called on."""
        return cls(*panel_from_dict(state))


def read_first(data: Any, params: Mapping[str, Any]) -> Panel:
    """Return the series of a table that a forecaster with these parameters is fitted to."""
    roles = {name: params[name] for name in _ROLES}
    options = {name: params[name] for name in ("time", "freq", "timezone", "irregular")}
    return read_panel(data, **options, **roles)


def _with_ahead(series: list[RegularSeries], later: list[Any]) -> list[RegularSeries]:
    return [replace(each, ahead=ahead) for each, ahead in zip(series, later, strict=True)]
