"""Axes, given or new, and the look that all pictures share."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from rnncore._types import Array

INK, GREY, GRID = "#1a1a1a", "#7a7a7a", "#e3e3e3"
# Told apart by the colour-blind, and by their dashes in grey print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES: tuple[Any, ...] = (
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 3)),
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (9, 3)),
)

_LEGEND: dict[str, Any] = {"fontsize": 9, "framealpha": 0.85, "edgecolor": "none"}
_MISSING = "rnncore.plot needs matplotlib: pip install matplotlib"
_MANY_POINTS = 20_000  # above these, to look for a free place for the legend takes long


def pyplot() -> Any:
    """Return matplotlib.pyplot; ImportError says what to install."""
    try:
        from matplotlib import pyplot as found
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return found


def read_ax(name: str, ax: Any) -> Any:
    """Return an Axes that a user passed; TypeError for anything else."""
    pyplot()
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"{name}: expected a matplotlib Axes, got {type(ax).__name__}")
    return ax


def one_ax(ax: Any, size: tuple[float, float]) -> Any:
    """Return the given Axes, or those of a new figure of `size` inches.

    Called when everything else was checked, so that no error leaves a figure behind.
    """
    if ax is not None:
        return read_ax("ax", ax)
    return pyplot().subplots(figsize=size, layout="constrained")[1]


def several_axes(axes: Any, rows: int, size: tuple[float, float]) -> Array:
    """Return `rows` Axes, given or new and below one another, as an array of objects."""
    if axes is None:
        options: Any = {"sharex": True, "squeeze": False, "layout": "constrained"}
        made: Array = pyplot().subplots(rows, 1, figsize=size, **options)[1]
        return made[:, 0]
    given = np.asarray(axes, dtype=object).reshape(-1)
    for i, ax in enumerate(given):
        read_ax(f"axes[{i}]", ax)
    if len(given) != rows:
        raise ValueError(f"axes: expected {rows} Axes, got {len(given)}")
    return given


def tidy(ax: Any, xlabel: str, ylabel: str) -> None:
    """Give Axes their labels and the look of all pictures."""
    ax.set_xlabel(xlabel, color=INK)
    ax.set_ylabel(ylabel, color=INK)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#9a9a9a")
    ax.tick_params(which="both", colors=INK, labelsize=9)


def legend_on_top(ax: Any) -> None:
    """Name what is drawn in rows at the top, and make room for them above the data."""
    names = ax.get_legend_handles_labels()[1]
    width, height = (size / ax.figure.dpi for size in ax.bbox.size)  # inches
    longest = max(len(line) for name in names for line in name.split("\n"))
    columns = min(max(int(width / (0.08 * longest + 0.7)), 1), len(names))
    lines = -(-len(names) // columns) + sum(name.count("\n") for name in names)
    share = min((0.2 * lines + 0.15) / height, 0.6)
    low, high = ax.get_ylim()
    ax.set_ylim(top=low + (high - low) / (1 - share), auto=None)  # further lines scale it anew
    ax.legend(loc="upper left", ncols=columns, **_LEGEND)


def legend(ax: Any, points: int, **options: Any) -> None:
    """Name what is drawn, where the Axes are freest."""
    place = "best" if points <= _MANY_POINTS else "upper left"
    ax.legend(**({"loc": place} | _LEGEND | options))


def in_lines(text: str, width: int = 60) -> str:
    """Return a long name in several lines; one without spaces is cut."""
    return textwrap.fill(text, width, max_lines=3, placeholder=" …") or text


def with_unit(name: str, unit: str) -> str:
    """Return an axis label."""
    return f"{name} ({unit})" if unit else name


def alone(values: Array) -> Array:
    """Return, (N,), where a finite value has no finite neighbour: a line does not show it."""
    finite = np.isfinite(values)
    beside = np.zeros_like(finite)
    beside[1:] |= finite[:-1]
    beside[:-1] |= finite[1:]
    return finite & ~beside
