"""Pictures of forecasts: beside what happened, and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncore._checks import as_array, check_shape, expect_none
from rnncore._types import Array
from rnncore.plot._axes import (
    COLOURS,
    DASHES,
    GREY,
    INK,
    alone,
    in_lines,
    legend_on_top,
    one_ax,
    with_unit,
)
from rnncore.plot._times import Times, label_times, read_times

_SIZE = 10.0, 4.2
_DOUBLE = np.dtype(np.float64)


class _Past(NamedTuple):
    times: Times
    values: Array


def forecast(
    time: ArrayLike,
    forecast: ArrayLike | Mapping[str, ArrayLike],
    *,
    lower: ArrayLike | Mapping[str, ArrayLike] | None = None,
    upper: ArrayLike | Mapping[str, ArrayLike] | None = None,
    truth: ArrayLike | None = None,
    past: ArrayLike | None = None,
    past_time: ArrayLike | None = None,
    ax: Any = None,
    name: str = "value",
    unit: str = "",
) -> Any:
    """Draw forecasts with their intervals, what was known before, and what then happened.

    Past and truth are solid lines, grey and black; forecasts are dashed in colours, each with its
    own dashes, and an interval is a band of its forecast's colour. NaN leaves a gap.

    Parameters
    ----------
    time : array_like, shape (N,)
        Numbers, datetime64, dates or datetimes, in order. Datetimes with a time zone are labelled
        in it; datetime64 has none.
    forecast : array_like, shape (N,), or mapping of str to such
        One forecast, or several by the names for the legend; the first is drawn most prominently.
    lower, upper : array_like, shape (N,), or mapping of str to such; optional
        Ends of the interval of the first forecast, or by name of several; both or none.
    truth : array_like, shape (N,), optional
        What happened.
    past, past_time : array_like, shape (P,), optional
        What was known before, and when; both or none.
    ax : matplotlib.axes.Axes, optional
        Where to draw. None = a new figure.
    name, unit : str
        What the values are, for the label.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is no forecast, a shape or dtype does not fit, times decrease, or a lower end is
        above the upper one.
    """
    times = read_times("time", time)
    lines = _read_lines("forecast", forecast, len(times.values))
    bands = _read_bands(lower, upper, list(lines), len(times.values))
    happened = None if truth is None else _read_line("truth", truth, len(times.values))
    before = _read_past(past, past_time, times)
    ax = one_ax(ax, _SIZE)
    if before is not None:
        _line(ax, before.times, before.values, "past", color=GREY, linewidth=1.4, zorder=2.5)
        ax.axvline(times.values[0], color=GREY, linewidth=1, linestyle=":", zorder=1.5)
    if happened is not None:
        _line(ax, times, happened, "truth", color=INK, linewidth=1.5, zorder=3)
    several = len(lines) > 1
    for label, (low, high) in bands.items():
        text = f"interval of {label}" if several else "interval"
        _band(ax, times, low, high, text, COLOURS[list(lines).index(label) % len(COLOURS)])
    _draw_lines(ax, times, lines)
    label_times(ax, times, with_unit(name, unit))
    legend_on_top(ax)
    return ax


def forecast_error(
    time: ArrayLike,
    forecast: ArrayLike | Mapping[str, ArrayLike],
    truth: ArrayLike,
    *,
    ax: Any = None,
    name: str = "forecast - truth",
    unit: str = "",
) -> Any:
    """Draw the errors of forecasts; the legend says the mean of their absolute values.

    Parameters
    ----------
    time, forecast, truth, ax, name, unit
        As for `forecast`. Where truth or forecast is NaN there is no error.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, TypeError, ValueError
        As for `forecast`.
    """
    times = read_times("time", time)
    happened = _read_line("truth", truth, len(times.values))
    lines = _read_lines("forecast", forecast, len(times.values))
    errors = {}
    for label, values in lines.items():
        error = values - happened
        known = error[np.isfinite(error)]
        mean = f"{np.abs(known).mean():.3g}" if known.size else "unknown"
        errors[f"{label}: mean |error| {mean}"] = error
    ax = one_ax(ax, (_SIZE[0], 2.8))
    ax.axhline(0, color=INK, linewidth=1)
    _draw_lines(ax, times, errors)
    label_times(ax, times, with_unit(name, unit))
    legend_on_top(ax)
    return ax


def _read_line(name: str, value: Any, steps: int) -> Array:
    values = as_array(name, value, _DOUBLE)
    check_shape(name, values, "(N,) as time", (steps,))
    return values


def _read_lines(name: str, value: Any, steps: int) -> dict[str, Array]:
    """Return forecasts by their names; one without a name is called `name`."""
    if not isinstance(value, Mapping):
        return {name: _read_line(name, value, steps)}
    if not value:
        raise ValueError(f"{name}: expected at least one, got an empty mapping")
    return {
        str(label): _read_line(f"{name}[{label!r}]", one, steps) for label, one in value.items()
    }


def _read_bands(lower: Any, upper: Any, names: list[str], steps: int) -> dict[str, Any]:
    """Return (lower, upper) by the name of their forecast."""
    if lower is None or upper is None:
        expect_none("without upper", lower=lower)
        expect_none("without lower", upper=upper)
        return {}
    ends = []
    for end, value in (("lower", lower), ("upper", upper)):
        lines = _read_lines(end, value, steps)
        ends.append(lines if isinstance(value, Mapping) else {names[0]: lines[end]})
        unknown = [label for label in ends[-1] if label not in names]
        if unknown:
            raise ValueError(f"{end}: expected names of forecasts {names}, got {unknown[0]!r}")
    low, high = ends
    if low.keys() != high.keys():
        raise ValueError(f"upper: expected the names of lower {list(low)}, got {list(high)}")
    for label in low:
        above = low[label] > high[label]
        if above.any():
            i = int(above.argmax())
            raise ValueError(
                f"lower: expected at most upper, got {low[label][i]:g} above {high[label][i]:g} "
                f"at index {i}"
            )
    return {label: (low[label], high[label]) for label in low}


def _read_past(past: Any, past_time: Any, times: Times) -> _Past | None:
    if past is None or past_time is None:
        expect_none("without past_time", past=past)
        expect_none("without past", past_time=past_time)
        return None
    when = read_times("past_time", past_time)
    if when.dates != times.dates or (when.zone is None) != (times.zone is None):
        kinds = [_kind(one) for one in (times, when)]
        raise TypeError(f"past_time: expected {kinds[0]} as time, got {kinds[1]}")
    values = as_array("past", past, _DOUBLE)
    check_shape("past", values, "(P,) as past_time", when.values.shape)
    return _Past(when, values)


def _kind(times: Times) -> str:
    zone = "" if times.zone is None else f" in the time zone {times.zone}"
    return f"dates{zone}" if times.dates else "numbers"


def _line(ax: Any, times: Times, values: Array, label: str, **style: Any) -> None:
    """Draw a line, and a point where a value stands alone between gaps."""
    single = alone(values)
    if single.any():
        style |= {"marker": "o", "markersize": 5, "markevery": single.tolist()}
    ax.plot(times.values, values, label=in_lines(label), **style)


def _draw_lines(ax: Any, times: Times, lines: Mapping[str, Array]) -> None:
    for i, (label, values) in enumerate(lines.items()):
        style = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[i % len(DASHES)],
            "linewidth": 1.5 if i else 2.2,
            "zorder": 5 - i / (i + 1),
        }
        _line(ax, times, values, label, **style)


def _band(ax: Any, times: Times, low: Array, high: Array, label: str, colour: str) -> None:
    """Fill an interval; where one stands alone between gaps, a bar shows it."""
    ax.fill_between(
        times.values, low, high, facecolor=colour, alpha=0.2, linewidth=0, label=in_lines(label),
        zorder=1.8,
    )  # fmt: skip
    for end in (low, high):
        ax.plot(times.values, end, color=colour, linewidth=0.8, alpha=0.6, zorder=1.9)
    single = alone(low + high)
    if single.any():
        ax.vlines(
            times.values[single], low[single], high[single], color=colour, alpha=0.3, linewidth=8,
            zorder=1.8,
        )  # fmt: skip
