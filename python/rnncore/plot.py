"""Pictures of forecasts and of training, as PNG files; needs matplotlib, but no display."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnncore.training import History

__all__ = ["forecast", "loss_curves"]


def __dir__() -> list[str]:
    return __all__


Path = str | PathLike[str]

_INK, _GRID = "#2b2b2b", "#e3e3e3"
_COLOURS = ("#0b6fb8", "#e08214", "#4d9221", "#8e4aa8")


def _figure(height: float) -> Any:
    """Return an empty figure; no global state of matplotlib is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("rnncore.plot needs matplotlib: pip install matplotlib") from error
    return Figure(figsize=(10, height), dpi=150, layout="constrained", facecolor="white")


def _tidy(axes: Any, ylabel: str) -> None:
    axes.set_ylabel(ylabel, color=_INK)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9a9a9a")
    axes.tick_params(colors=_INK, labelsize=9)
    axes.margins(x=0.01)


def _label(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def forecast(
    path: Path,
    time: ArrayLike,
    truth: ArrayLike,
    forecasts: Mapping[str, ArrayLike],
    *,
    name: str = "value",
    unit: str = "",
    title: str = "",
) -> None:
    """Draw forecasts over the truth, and below them their errors.

    Parameters
    ----------
    path : str or path-like
        The PNG file to write.
    time : array_like, shape (N,)
        Numbers or datetime64.
    truth : array_like, shape (N,)
        What happened.
    forecasts : mapping of str to array_like, each of shape (N,)
        What was forecast, by the name for the legend; the first is drawn most prominently.
    name, unit, title : str
        What the values are, for the labels.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If a forecast is not as long as the truth, or there is none.
    """
    x, y = np.asarray(time), np.asarray(truth)
    lines = {label: np.asarray(values) for label, values in forecasts.items()}
    if not lines:
        raise ValueError("forecasts: expected at least one, got none")
    for label, values in [("time", x), *lines.items()]:
        if y.ndim != 1 or values.shape != y.shape:
            raise ValueError(f"{label}: expected (N,) as truth {y.shape}, got {values.shape}")
    figure = _figure(6.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    above.plot(x, y, color=_INK, linewidth=3.2, alpha=0.35, label="truth")
    below.axhline(0, color=_INK, linewidth=1)
    for i, (label, values) in reversed(list(enumerate(lines.items()))):
        colour = _COLOURS[i % len(_COLOURS)]
        style = {"color": colour, "linewidth": 1.0 if i else 1.7, "alpha": 0.9, "zorder": 5 - i}
        above.plot(x, values, linestyle=(0, (4, 1.5)) if i else "-", label=label, **style)
        error = values - y
        below.plot(x, error, label=f"{label}: mean |error| {np.abs(error).mean():.3g}", **style)
    _tidy(above, _label(name, unit))
    _tidy(below, _label("forecast - truth", unit))
    if np.issubdtype(x.dtype, np.datetime64):
        from matplotlib import dates as _dates

        dates: Any = _dates
        locator = dates.AutoDateLocator(minticks=5, maxticks=12)
        below.xaxis.set_major_locator(locator)
        below.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        below.set_xlabel("local time", color=_INK)
    else:
        below.set_xlabel("step", color=_INK)
    for axes in (above, below):
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[::-1] if axes is below else [handles[0], *handles[:0:-1]],
            labels[::-1] if axes is below else [labels[0], *labels[:0:-1]],
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, fontsize=9,
        )  # fmt: skip
    if title:
        figure.suptitle(title, color=_INK, fontsize=12, fontweight="bold")
    figure.savefig(path, format="png")


def loss_curves(path: Path, history: History, *, loss: str = "loss", title: str = "") -> None:
    """Draw the training and validation loss of each epoch; logarithmic if they span much.

    Parameters
    ----------
    path : str or path-like
        The PNG file to write.
    history : History
        From `fit`, of at least one epoch.
    loss : str
        Label of the axis: which loss, and its unit.
    title : str
        Above the picture.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If no epoch was finished.
    """
    if not history.loss:
        raise ValueError("history: expected at least one epoch, got none")
    figure = _figure(4.4)
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    epochs = np.arange(1, len(history.loss) + 1)
    marker = "o" if len(epochs) < 30 else ""
    lines = {"training": history.loss, "validation": history.validation_loss}
    for (label, values), colour in zip(lines.items(), (_COLOURS[1], _COLOURS[0]), strict=True):
        if values:
            axes.plot(
                epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=3.5,
                label=label,
            )  # fmt: skip
    best = history.watched[history.best_epoch - 1]
    axes.plot(
        [history.best_epoch], [best], "o", color=_INK, markersize=9, fillstyle="none",
        label=f"best: {best:.3g} in epoch {history.best_epoch}",
    )  # fmt: skip
    lowest, highest = (f(history.loss + history.validation_loss) for f in (min, max))
    if 0 < 5 * lowest < highest:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _tidy(axes, loss)
    axes.set_xlabel("epoch", color=_INK)
    axes.legend(frameon=False, fontsize=9)
    if title:
        axes.set_title(title, color=_INK, fontsize=12, fontweight="bold", loc="left")
    figure.savefig(path, format="png")
