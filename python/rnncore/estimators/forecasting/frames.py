"""Answer: forecasts on their way back into the caller's kind of frame; and what files keep."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncore._checks import users_level
from rnncore._types import Array
from rnncore.estimators.forecasting.fitted import FittedSeries
from rnncore.estimators.forecasting.series import followed, tail
from rnncore.estimators.forecasting.windows import Windows
from rnncore.estimators.tables import frames, native
from rnncore.estimators.tables.panel import Ahead, Panel, RegularSeries
from rnncore.estimators.tables.times import TimeKind, Times, from_instants, short

_ADVICE = ", or with freq='rows', where trading days, say, are the steps"
_NAMED = 10  # groups in a warning


@dataclass(eq=False)
class Answer:
    """M forecasts of H steps.

    Attributes
    ----------
    panel : Panel
        Names, and what times are.
    series : list of M RegularSeries
        What each was forecast from.
    times : list of M Times
        Of H rows each.
    values : numpy.ndarray of float64, shape (M, H, D) or (M, H, D, 3)
    example : Any
        The caller's table without its rows, or the number of dimensions of an array.
    """

    panel: Panel
    series: Sequence[RegularSeries]
    times: list[Times]
    values: Array
    example: Any

    @classmethod
    def behind(
        cls, panel: Panel, fitted: FittedSeries, coverage: float | None, example: Any
    ) -> Answer:
        """Forecast what follows each series of a panel, all of which are `ready`.

        Raises
        ------
        ValueError
            If a series knows too little ahead.
        """
        past, horizon = fitted.core.past, fitted.core.future
        for each in panel.series:
            _refuse_unknown(each, panel, horizon)
        values = fitted.forecast(panel.series, coverage)
        ahead = [followed(each, past, horizon, panel.frequency) for each in panel.series]
        times = [each.times.part(slice(-horizon, None)) for each in ahead]
        return cls(panel, panel.series, times, values, example)

    @classmethod
    def of_windows(cls, panel: Panel, windows: Windows, values: Array, data: Any) -> Answer:
        """Hold forecasts of windows of a table of the panel's series; `data` is the caller's."""
        series = panel.series
        places = windows.series
        rows = windows.future_rows - windows.table.bounds[places][:, None]
        times = [series[g].times.part(row) for g, row in zip(places, rows, strict=True)]
        return cls(panel, [series[g] for g in places], times, values, empty_like(data))

    def frame(self, values: Array, endings: Sequence[str] = ("",), *, steps: bool = False) -> Any:
        """Return numbers (M, H, D) or (M, H, D, K), K columns for each target, as a table."""
        M, H = values.shape[:2]
        if isinstance(self.example, int):
            flat = values.reshape(M * H, *values.shape[2:])
            return flat[:, 0] if self.example == 1 else flat
        values = values.reshape(M * H, -1, len(endings))
        columns: dict[Any, Any] = {}
        for i, name in enumerate(self.panel.roles.group):
            columns[name] = np.repeat(_objects([each.key[i] for each in self.series]), H)
        if steps:
            self._add(columns, "step", np.tile(np.arange(1, H + 1), M))
        for d, name in enumerate(self.panel.roles.target):
            for k, ending in enumerate(endings):
                label = f"{name}{ending}" if ending else name
                self._add(columns, label, values[:, d, k])
        return frames.like(self.example, columns, time=_joined(self.times))

    def _add(self, columns: dict[Any, Any], name: Any, values: Array) -> None:
        if name in columns or name == self.panel.roles.time:
            raise ValueError(f"data: expected no column named {name!r}, which forecasts need")
        columns[name] = values

    def plot(self, group: Any, target: Any, past: int, ax: Any) -> Any:
        """Draw one series' last rows, its forecast and the interval; return the Axes."""
        from rnncore import plot

        g, d = self._place(group), self._column(target)
        H, name = self.values.shape[1], self.panel.target_names[d]
        seen, values = tail(self.series[g], max(past, 3 * H)), self.values[g, :, d]
        return plot.forecast(
            self.times[g].local, values[:, 1], lower=values[:, 0], upper=values[:, 2],
            past=seen.target[:, d], past_time=seen.local, name=name, ax=ax,
        )  # fmt: skip

    def _place(self, group: Any) -> int:
        """Return which series a group is; the first for None. ValueError for an unknown one."""
        if group is None:
            return 0
        key = tuple(group) if isinstance(group, (tuple, list)) else (group,)
        keys = [each.key for each in self.series]
        if key not in keys:
            raise ValueError(f"group: expected one of {keys[:10]}, got {group!r}")
        return keys.index(key)

    def _column(self, target: Any) -> int:
        """Return which target a name is; the first for None. ValueError for an unknown one."""
        names = self.panel.roles.target
        if target is None:
            return 0
        if target not in names:
            raise ValueError(f"target: expected one of {names}, got {target!r}")
        return names.index(target)


def ready(panel: Panel, past: int) -> Panel:
    """Return a panel without the series that end with fewer than `past` steps in a row.

    Raises
    ------
    ValueError
        If none is left.

    Warns
    -----
    UserWarning
        If some are left out; it names them.
    """
    left = [each for each in panel.series if _run(each) >= past]
    out = [each for each in panel.series if _run(each) < past]
    if out and not left:
        raise ValueError(f"data: {_of(out[0])}{_too_short(out[0], panel, past)}")
    if out:
        names = ", ".join(_name(each) for each in out[:_NAMED])
        more = f" and {len(out) - _NAMED} more" * (len(out) > _NAMED)
        warnings.warn(
            f"data: no forecast of {len(out)} of {len(panel.series)} groups, {names}{more}: of the "
            f"first {_too_short(out[0], panel, past)}",
            UserWarning,
            stacklevel=users_level(),
        )
    return replace(panel, series=left)


def _run(series: RegularSeries) -> int:
    """Return the steps in a row up to the last one."""
    start, stop = series.segments[-1] if series.segments else (0, 0)
    return stop - start if stop == len(series) else 0


def _too_short(series: RegularSeries, panel: Panel, past: int) -> str:
    torn = bool(series.segments) and series.segments[-1][0] > 0
    return (
        f"expected {past} steps in a row (the window) up to the last one, "
        f"{short(series.local[-1])}, got {_run(series)}; leave the series out of data=, or fit "
        "with a smaller window" + _ADVICE * (torn and panel.frequency.unit in ("B", "D"))
    )


def _refuse_unknown(series: RegularSeries, panel: Panel, horizon: int) -> None:
    if panel.roles.future and len(series.ahead.step) < horizon:
        raise ValueError(
            f"future: {_of(series)}expected the columns {panel.roles.future} for {horizon} steps "
            f"after {short(series.local[-1])}, got {len(series.ahead.step)}; pass future=, or rows "
            "without a target in data"
        )


def _of(series: RegularSeries) -> str:
    return f"group {_name(series)}: " if series.key else ""


def _name(series: RegularSeries) -> str:
    return repr(series.key[0] if len(series.key) == 1 else series.key)


def _joined(times: Sequence[Times]) -> Times:
    return times[0].at(np.concatenate([each.values for each in times]))


def _objects(values: list[Any]) -> Array:
    """Return values of any kind as an array, of their own dtype if they share one."""
    if all(isinstance(value, str) for value in values):
        return np.array(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def empty_like(data: Any) -> Any:
    """Return the caller's table without its rows; of an array its number of dimensions."""
    if native.is_frame(data) or native.is_series(data):
        return native.without_rows(data)
    return np.ndim(data)


def panel_to_dict(panel: Panel, example: Any) -> dict[str, Any]:
    """Return a panel, and what the caller's table was, as files hold it."""
    kind = example if isinstance(example, int) else native.library_of(example)
    return {
        "series": [_series_to_dict(each) for each in panel.series], "kind": panel.kind,
        "frequency": panel.frequency, "roles": panel.roles, "encoding": panel.encoding,
        "repairs": panel.repairs, "table": kind,
        "columns": [] if isinstance(example, int) else frames.column_names(example),
        "is_series": not isinstance(example, int) and native.is_series(example),
        "name": None if isinstance(example, int) else native.name_of(example),
    }  # fmt: skip


def panel_from_dict(state: Mapping[str, Any]) -> tuple[Panel, Any]:
    """Return what `panel_to_dict` was given."""
    kind, roles, frequency = state["kind"], state["roles"], state["frequency"]
    series = [_series_from_dict(each, kind) for each in state["series"]]
    panel = Panel(series, frequency, kind, roles, state["encoding"], list(state["repairs"]))
    if isinstance(state["table"], int):
        return panel, state["table"]
    first = series[0]  # one row says what the columns are
    columns = {name: [first.key[i]] for i, name in enumerate(roles.group)}
    columns |= {name: [0.0] for name in roles.target}
    table = native.new_table(state["table"], columns)
    if state["is_series"]:
        table = native.as_series(table, state["name"])
    if roles.time is not None:
        table = frames.like(table, columns, time=first.times.part(slice(-1, None)))
        table = native.in_order(table, state["columns"])
    return panel, native.without_rows(table)


def _series_to_dict(series: RegularSeries) -> dict[str, Any]:
    ahead = series.ahead
    return {
        "key": list(series.key), "step": series.step, "time": series.time.astype(np.int64),
        "unit": series.time.dtype.str, "target": series.target, "past": series.past,
        "future": series.future, "static": series.static, "segments": series.segments,
        "later": {
            "step": ahead.step, "time": ahead.times.values.astype(np.int64),
            "future": ahead.future,
        },
    }  # fmt: skip


def _series_from_dict(state: Mapping[str, Any], kind: TimeKind) -> RegularSeries:
    later, unit = state["later"], state["unit"]
    times, ahead = (from_instants(each["time"].astype(unit), kind) for each in (state, later))
    return RegularSeries(
        tuple(state["key"]), state["step"], times, state["target"], state["past"],
        state["future"], state["static"], [(int(a), int(b)) for a, b in state["segments"]],
        Ahead(later["step"], ahead, later["future"]),
    )  # fmt: skip
