"""Pictures of what happens inside a layer: gates and states over time, and their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncore._checks import boolean, integer
from rnncore._ragged import side_by_side
from rnncore._types import Array
from rnncore.layers import Recurrent, Trace
from rnncore.plot._axes import (
    COLOURS,
    DASHES,
    INK,
    alone,
    in_lines,
    legend,
    one_ax,
    several_axes,
    tidy,
)
from rnncore.state import FeedbackState

_GATES = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
    "c": "cell state c",
    "h": "state h",
}
_SIGMOIDS = "iforz"  # in [0, 1]


def trace(
    trace: Trace | Sequence[Trace],
    *,
    layer: int = 0,
    sequence: int = 0,
    units: int | Sequence[int] | None = None,
    batch_first: bool = True,
    axes: Any = None,
) -> Array:
    """Draw the gates and states of one sequence over time, one below the other.

    Parameters
    ----------
    trace : list of Trace, or Trace
        What ``layer.return_trace(x)`` returned.
    layer : int
        Which of the list: of layers and directions in memory order.
    sequence : int
        Which sequence of the batch.
    units : int, or sequence of int, optional
        Units whose values are drawn as lines. None = all of them as a map of colours.
    batch_first : bool
        As the layer has it: whether arrays (B, T, H) are meant by three dimensions.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw: one for each gate and state, six for an LSTM, four for a GRU, one for an
        RNN. None = a new figure.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Gates in the trace's order, then c, then h. A map is an image (H, T); its scale is beside
        it, an Axes of its own.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If it is no trace, an index is out of range, there is no step, or there are too few Axes.
    """
    panels = _read_trace(trace, layer, sequence, boolean("batch_first", batch_first))
    H = next(iter(panels.values())).shape[1]
    chosen = _read_units(units, H)
    drawn = several_axes(axes, len(panels), (8.0, 0.8 + 1.4 * len(panels)))
    for ax, (letter, values) in zip(drawn, panels.items(), strict=True):
        tidy(ax, "step" if ax is drawn[-1] else "", "unit" if chosen is None else "")
        ax.set_title(_GATES.get(letter, letter), loc="left", fontsize=10, color=INK)
        if chosen is None:
            _map(ax, letter, values)
        else:
            _lines(ax, values, chosen)
    if chosen is not None:
        legend(drawn[0], len(values) * len(chosen))
    return drawn


def _read_units(units: Any, H: int) -> list[int] | None:
    """Return the units to draw; None for all."""
    if units is None:
        return None
    chosen = list(units) if np.ndim(units) else [units]
    if not chosen:
        raise ValueError("units: expected at least one, or None for all, got none")
    return [_index(f"units[{i}]", unit, H) for i, unit in enumerate(chosen)]


def _read_trace(trace: Any, layer: Any, sequence: Any, batch_first: bool) -> dict[str, Array]:
    """Return gates and states (T, H) of one sequence, by their letters."""
    if not isinstance(trace, Trace):
        known = isinstance(trace, (list, tuple)) and all(isinstance(one, Trace) for one in trace)
        if not known or not trace:
            got = type(trace).__name__
            raise TypeError(f"trace: expected what layer.return_trace(x) returns, got {got}")
        trace = trace[_index("layer", layer, len(trace))]
    states = {"h": trace.h} if trace.c is None else {"c": trace.c, "h": trace.h}
    arrays = {**{k: v for k, v in trace.gates.items() if k not in states}, **states}
    found = {letter: _one(values, sequence, batch_first) for letter, values in arrays.items()}
    if not found["h"].size:
        raise ValueError(f"sequence: expected one with steps, got none in sequence {sequence}")
    return found


def _one(values: Any, sequence: Any, batch_first: bool) -> Array:
    """Return one sequence, (T, H)."""
    if isinstance(values, np.ndarray) and values.ndim == 2:
        values = values[None]
    elif isinstance(values, np.ndarray) and not batch_first:
        values = values.swapaxes(0, 1)
    return np.asarray(values[_index("sequence", sequence, len(values))])


def _index(name: str, value: Any, count: int) -> int:
    """Return an index in [0, count); negative ones count from the end."""
    return integer(name, value, -count, count - 1) % count


def _map(ax: Any, letter: str, values: Array) -> None:
    """Draw units by steps in colours, their scale beside them."""
    least = 1e-30 if letter == "c" else 1.0  # h of a relu may be beyond 1
    most = float(np.abs(values[np.isfinite(values)]).max(initial=least))
    low, colours = (0, "viridis") if letter in _SIGMOIDS else (-most, "RdBu_r")
    image = ax.imshow(
        values.T, aspect="auto", interpolation="nearest", cmap=colours, vmin=low, vmax=most
    )
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, pad=0.01)


def _lines(ax: Any, values: Array, units: Sequence[int]) -> None:
    for i, unit in enumerate(units):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
        ax.plot(values[:, unit], label=f"unit {unit}", linewidth=1.6, **_points(values), **style)


def _points(values: Array) -> dict[str, Any]:
    """Return how to show a line of one step."""
    return {"marker": "o"} if len(values) == 1 else {}


def gradient_norm(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    lengths: Any = None,
    layer: int = -1,
    ax: Any = None,
) -> Any:
    """Draw the norm of dL/dh_t through time: whether gradients vanish or explode.

    L is a model's mean loss for the targets y. Of a layer alone it is the sum of its final h,
    scaled so that the norm in front of a last step is 1. The norm is over all sequences and units;
    the axis is logarithmic, and zeros are left out.

    Parameters
    ----------
    model : RNN, LSTM or GRU; ManyToOne or ManyToMany; or mapping of str to such
        One, or several by the names for the legend.
    x, lengths
        A few sequences, as ``forward`` takes them.
    y : array_like, optional
        Targets, as ``fit`` takes them; for models alone.
    layer : int
        Which layer's h; the last one by default. Two directions are two lines.
    ax : matplotlib.axes.Axes, optional
        Where to draw. None = a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The norms are its lines: ``ax.lines[0].get_ydata()``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If it is no such model, y is missing or too much, there is no step, or an argument does
        not fit.
    """
    named = model if isinstance(model, Mapping) else {_name(model): model}
    if not named:
        raise ValueError("model: expected at least one, got an empty mapping")
    norms: dict[str, Array] = {}
    for label, one in named.items():
        norms |= _norms(str(label), one, x, y, lengths, layer)
    if not all(map(len, norms.values())):
        raise ValueError("x: expected at least one step, got none")
    ax = one_ax(ax, (8.0, 3.8))
    for i, (label, norm) in enumerate(norms.items()):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
        seen = np.where(norm > 0, norm, np.nan)
        single: dict[str, Any] = {"marker": "o", "markevery": alone(seen).tolist()}
        points = single if any(single["markevery"]) else {}
        ax.plot(seen, label=in_lines(label), linewidth=1.8, **points, **style)
    if any((norm > 0).any() for norm in norms.values()):
        ax.set_yscale("log")
    tidy(ax, "step", "norm of dL/dh")
    legend(ax, sum(map(len, norms.values())))
    return ax


def _name(model: Any) -> str:
    return type(getattr(model, "core", model)).__name__


def _norms(label: str, model: Any, x: Any, y: Any, lengths: Any, layer: Any) -> dict[str, Array]:
    """Return the norm at every step, (T,), of a layer's directions by their names."""
    core = getattr(model, "core", model)
    if not isinstance(core, Recurrent) or not hasattr(model, "state_gradients"):
        raise TypeError(
            f"model: expected an RNN, LSTM or GRU, a ManyToOne or a ManyToMany, got {_name(model)}"
        )
    if model is core:
        if y is not None:
            raise ValueError(f"y: expected None with a layer alone, got {type(y).__name__}")
        found = core.state_gradients(x, None, _sum_of_last(core, x), lengths=lengths)
    elif y is None:
        raise ValueError("y: expected targets, since the loss of a model needs them, got None")
    else:
        found = model.state_gradients(x, y, lengths=lengths)
    D = core.spec.directions
    first = D * _index("layer", layer, core.num_layers)
    names = [label] if D == 1 else [f"{label}, forward", f"{label}, backward"]
    time = 1 if model is not core or core.batch_first else 0
    return {name: _norm(one, time) for name, one in zip(names, found[first:], strict=False)}


def _sum_of_last(layer: Recurrent[Any], x: Any) -> Any:
    """Return the gradient of the last layer's final h, summed: of norm 1 in each direction."""
    state: Any = layer(x)[1]
    state = state.hidden if isinstance(state, FeedbackState) else state
    h = state.h if layer.cell.has_c else state
    gradient = np.zeros_like(h)
    last = gradient[-layer.spec.directions :]
    last[...] = max(last[0].size, 1) ** -0.5
    return type(state)(gradient, np.zeros_like(state.c)) if layer.cell.has_c else gradient


def _norm(gradient: Any, time: int) -> Array:
    """Return the norm over all but time."""
    if isinstance(gradient, list):
        gradient = side_by_side(gradient, max(map(len, gradient)))
    array = np.asarray(gradient, np.float64)
    time = 0 if array.ndim == 2 else time
    norm: Array = np.sqrt((array**2).sum(axis=tuple(a for a in range(array.ndim) if a != time)))
    return norm
