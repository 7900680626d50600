"""Pictures of trainings: losses and metrics of every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncore._checks import choice
from rnncore.plot._axes import COLOURS, DASHES, INK, legend, one_ax, tidy
from rnncore.training import History


def history(
    history: Any, *, metrics: str | Sequence[str] = (), loss: str = "loss", ax: Any = None
) -> Any:
    """Draw the training and validation loss of each epoch; logarithmic if they span much.

    The best epoch is marked. Where it is none, the loss before the first step is, as epoch 0.

    Parameters
    ----------
    history : History, or a model or an estimator that was fitted
        Of at least one epoch.
    metrics : str, or sequence of str
        Which of its metrics to draw as well, on an axis of their own on the right:
        ``ax.figure.axes[-1]``.
    loss : str
        Label of the axis: which loss, and its unit.
    ax : matplotlib.axes.Axes, optional
        Where to draw. None = a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If it is no history and has none, no epoch was finished, or a metric is not in it.
    """
    seen = _read_history(history)
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        choice("metrics", name, list(seen.metrics))
    ax = one_ax(ax, (8.0, 3.8))
    from matplotlib.ticker import MaxNLocator

    lines = _draw_losses(ax, seen)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(ax, "epoch", loss)
    if names:
        lines += _draw_metrics(ax, seen, names)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4} if names else {}
    legend(ax, 0, handles=lines, **above)
    return ax


def _read_history(value: Any) -> History:
    """Return a History, or what `fit` left in a model or an estimator."""
    found = value
    for name in ("history_", "history"):
        if not isinstance(found, History):
            found = getattr(value, name, None)
    if found is None and (hasattr(value, "history") or hasattr(value, "fit")):
        raise ValueError(f"history: expected a {type(value).__name__} after fit, got one before")
    if not isinstance(found, History):
        raise TypeError(f"history: expected a History or what was fitted, got {value!r}")
    if not found.loss:
        raise ValueError("history: expected at least one epoch, got none")
    return found


def _draw_losses(ax: Any, seen: History) -> list[Any]:
    """Draw the losses, and a ring round the best one; return the lines."""
    drawn: list[Any] = []
    losses = {"training": seen.loss, "validation": seen.validation_loss}
    for i, (label, values) in enumerate(losses.items()):
        if values:
            drawn += _draw(ax, label, values, COLOURS[1 - i], DASHES[0] if i == 0 else "-")
    best = seen.watched[seen.best_epoch - 1] if seen.best_epoch else seen.before
    if best is not None and np.isfinite(best):
        where = f"in epoch {seen.best_epoch}" if seen.best_epoch else "before the first step"
        ring: dict[str, Any] = {"color": INK, "markersize": 9, "fillstyle": "none"}
        text = f"best: {best:.3g} {where}"
        drawn += ax.plot([seen.best_epoch], [best], "o", label=text, zorder=4, **ring)
    every = np.array([*seen.loss, *seen.validation_loss])
    finite = every[np.isfinite(every)]
    if finite.size and 0 < 5 * finite.min() < finite.max():
        ax.set_yscale("log")
    return drawn


def _draw_metrics(ax: Any, seen: History, names: Sequence[str]) -> list[Any]:
    """Draw metrics over the same epochs, on an axis on the right; return the lines."""
    right, drawn = ax.twinx(), []
    for i, name in enumerate(names):
        j = (i + 2) % len(COLOURS)
        drawn += _draw(right, name, seen.metrics[name], COLOURS[j], DASHES[j])
    right.set_ylabel(", ".join(names), color=INK)
    right.spines[["top", "left", "bottom"]].set_visible(False)
    right.spines["right"].set_color("#9a9a9a")
    right.tick_params(colors=INK, labelsize=9)
    return drawn


def _draw(ax: Any, label: str, values: Sequence[float], colour: str, dashes: Any) -> list[Any]:
    epochs = np.arange(1, len(values) + 1)
    points = {"marker": "o" if len(epochs) < 30 else "", "markersize": 3.5}
    style = {"color": colour, "linestyle": dashes, "linewidth": 1.8}
    lines: list[Any] = ax.plot(epochs, values, label=label, **points, **style)
    return lines
