"""Four panels of bench/scaling.py on logarithmic axes, as a PNG file; needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Panel = dict[tuple[str, str], tuple[list[int], list[float]]]
"""Values of the factor and milliseconds, by (library, mode)."""

_INK, _GRID, _GUIDE = "#2b2b2b", "#e3e3e3", "#8a8a8a"
_COLOURS = {"rnncore": "#0072b2", "torch": "#d55e00"}  # told apart by every kind of colour vision
_MARKERS = {"rnncore": "o", "torch": "s"}
_LINES = {"training": "-", "inference": "--"}
_AXES = {
    "T": ("time steps T", 1, "in proportion to T"),
    "B": ("batch size B", 1, "in proportion to B"),
    "H": ("hidden size H", 2, "in proportion to H\u00b2"),
    "threads": ("threads", -1, "shared perfectly"),
}
"""Label, slope of the guide line, what the guide line is."""


def draw(path: Path, cell: str, panels: Mapping[str, Panel]) -> None:
    """Draw the curves.

    Parameters
    ----------
    path : pathlib.Path
        The PNG file to write.
    cell : str
        Name of the cell, for the title.
    panels : mapping of str to Panel
        By factor: "T", "B", "H", "threads".
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("--png needs matplotlib: pip install matplotlib") from error
    figure: Any = Figure(figsize=(11, 8.5), dpi=130, layout="constrained", facecolor="white")
    grid = figure.subplots(2, 2).flat
    for axes, (factor, panel) in zip(grid, panels.items(), strict=True):
        _draw_panel(axes, factor, panel)
    figure.suptitle(f"{cell.upper()}: milliseconds per call", color=_INK, fontsize=13)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        handlelength=3.5,
        frameon=False,
    )
    figure.savefig(path)


def _draw_panel(axes: Any, factor: str, panel: Panel) -> None:
    label, slope, guide = _AXES[factor]
    for (name, mode), (values, times) in panel.items():
        axes.plot(
            values,
            times,
            _LINES[mode],
            color=_COLOURS[name],
            marker=_MARKERS[name],
            markersize=5,
            linewidth=1.8,
            label=f"{name}, {mode}",
        )
    values, times = panel["rnncore", "training"]
    anchor = 0 if slope < 0 else -1
    line = [times[anchor] * (value / values[anchor]) ** slope for value in values]
    axes.plot(values, line, ":", color=_GUIDE, linewidth=1.4, zorder=1)
    axes.set_title(f"dotted: {guide}", fontsize=9, color=_GUIDE, loc="right")
    _logarithmic(axes, values)
    axes.set_xlabel(label, color=_INK)
    axes.set_ylabel("ms", color=_INK)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)


def _logarithmic(axes: Any, values: list[int]) -> None:
    """Both axes logarithmic, with plain numbers: ticks at the measured values, and 1, 2, 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(xscale="log", yscale="log")
    axes.set_xticks(values, [str(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if math.log10(high / low) < 2 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
