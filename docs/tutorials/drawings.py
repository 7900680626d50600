"""Draws networks unrolled over time: the pictures of the notebook recurrences that are no results.

python docs/tutorials/drawings.py [folder]      beside the notebook by default; needs matplotlib
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

INK, FAINT = "#2b2b2b", "#9a9a9a"
BLUE, ORANGE, GREEN, VIOLET = "#0b6fb8", "#e08214", "#4d9221", "#8e4aa8"
STEPS = ("t-1", "t", "t+1")
HEIGHT = {"x": 0.0, "h": 1.0, "y": 2.0, "v": 2.95}


def arrow(axes, start, end, colour=INK, bend=0.0, style="-", rims=(0.25, 0.25), width=1.5):
    """Draw an arrow from rim to rim of two nodes of these radii."""
    start, end = np.array(start), np.array(end)
    along = (end - start) / np.hypot(*(end - start))
    axes.add_patch(
        FancyArrowPatch(
            start + rims[0] * along, end - rims[1] * along, arrowstyle="-|>", mutation_scale=13,
            color=colour, linestyle=style, connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0,
            linewidth=width, joinstyle="miter", capstyle="butt",
        )
    )  # fmt: skip


def node(axes, at, text, colour=INK, square=False):
    """Draw a unit as a circle, or a given value as a square."""
    box = Rectangle((at[0] - 0.26, at[1] - 0.22), 0.52, 0.44)
    shape = box if square else Circle(at, 0.25)
    shape.set(facecolor="white", edgecolor=colour, linewidth=1.5, zorder=3)
    axes.add_patch(shape)
    axes.text(*at, text, ha="center", va="center", fontsize=9, color=INK, zorder=4)


def label(axes, at, text, colour):
    """Name an arrow."""
    axes.text(
        *at, text, color=colour, fontsize=10, ha="center", va="center", fontweight="bold", zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip


def unrolled(axes, title, top):
    """Draw x, h and y of three steps with W and P; return where each is."""
    axes.set_title(title, fontsize=11, color=INK)
    axes.set(xlim=(-1.35, 4.75), ylim=(-0.75, top), aspect="equal")
    axes.axis("off")
    at = {}
    for i, step in enumerate(STEPS):
        for name in "xhy":
            at[name, i] = (1.7 * i, HEIGHT[name])
            node(axes, at[name, i], f"${name}_{{{step}}}$")
        axes.text(1.7 * i, -0.6, f"step {step}", ha="center", fontsize=8, color=FAINT)
        arrow(axes, at["x", i], at["h", i])
        arrow(axes, at["h", i], at["y", i])
    label(axes, (0.0, 0.48), "W", INK)
    label(axes, (0.0, 1.48), "P", INK)
    return at


def across(axes, at, below, above, colour, name):
    """Draw a recurrence from `below` of each step to `above` of the next, and in and out."""
    for i in range(-1, 3):
        start = at.get((below, i), (1.7 * i, HEIGHT[below]))
        end = at.get((above, i + 1), (1.7 * (i + 1), HEIGHT[above]))
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        if i < 0:
            arrow(axes, middle, end, colour, style=":", rims=(0, 0.25), width=2)
        elif i == 2:
            arrow(axes, start, middle, colour, style=":", rims=(0.25, 0), width=2)
        else:
            arrow(axes, start, end, colour, width=2)
    label(axes, (0.85, (HEIGHT[below] + HEIGHT[above]) / 2), name, colour)


def networks():
    """Draw four networks unrolled over three steps."""
    figure = Figure(figsize=(10, 6.6), dpi=100, layout="constrained", facecolor="white")
    grid = figure.subplots(2, 2).ravel()
    hidden = ("h", "h", BLUE, "R")
    to_hidden = ("y", "h", ORANGE, "U")
    to_output = ("y", "y", GREEN, "Q")
    for axes, title, recurrences in zip(
        grid,
        ("Elman: hidden recurrence", "Jordan: output to hidden", "output to output",
         "hidden and output recurrence together"),
        ([hidden], [to_hidden], [to_output], [hidden, to_hidden, to_output]),
        strict=True,
    ):  # fmt: skip
        at = unrolled(axes, title, 2.5)
        for recurrence in recurrences:
            across(axes, at, *recurrence)
    return figure


def forcing():
    """Draw a Jordan network under teacher forcing, scheduled sampling and in closed loop."""
    figure = Figure(figsize=(13, 4), dpi=90, layout="constrained", facecolor="white")
    for axes, title, given in zip(
        figure.subplots(1, 3),
        ("teacher forcing", "scheduled sampling", "closed loop"),
        ((True, True, True), (False, True, False), (False, False, False)),
        strict=True,
    ):
        at = unrolled(axes, title, 3.4)
        for i, is_given in enumerate(given):
            target = (1.7 * i, HEIGHT["v"])
            colour = VIOLET if is_given else ORANGE
            node(axes, target, f"$d_{{{STEPS[i]}}}$", VIOLET if is_given else FAINT, square=True)
            axes.plot([target[0]] * 2, [2.25, target[1]], ":", color=FAINT, zorder=0)
            start = target if is_given else at["y", i]
            end = (1.7 * (i + 1), HEIGHT["h"])
            if i == 2:  # only the first half
                end = (start[0] + 0.9, start[1] + 0.53 * (end[1] - start[1]))
            style, rims = (":", (0.3, 0)) if i == 2 else ("-", (0.3, 0.25))
            arrow(axes, start, end, colour, style=style, rims=rims, width=2)
            if i == 0:
                at_label = (0.76, 2.08) if is_given else (0.85, 1.5)
                label(axes, at_label, "U", colour)
    axes = figure.axes[0]
    axes.text(-1.3, HEIGHT["v"], "target", fontsize=9, color=VIOLET, va="center")
    axes.text(-1.3, HEIGHT["y"], "output", fontsize=9, color=INK, va="center")
    axes.text(-0.1, 2.48, "loss", fontsize=8, color=FAINT, ha="right", va="center")
    return figure


PICTURES = {"recurrences-networks": networks, "recurrences-forcing": forcing}


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, draw in PICTURES.items():
        draw().savefig(folder / f"{name}.png", metadata={"Software": None})
