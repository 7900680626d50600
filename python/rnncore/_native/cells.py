"""The kernels' cell table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from rnncore._checks import choice
from rnncore._native.isa import core


class GateFunction(NamedTuple):
    """A function of a gate, as the kernels take it; what it does not use is 0."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True)
class Cell:
    """A row of the kernels' cell table, with what was chosen for it."""

    name: str
    gate_letters: str  # one for each block of H rows in the weights
    wiring: str  # one letter for each number per unit and step that backward needs
    states: str  # one letter per state: "h" or "hc"
    unit_parameters: Mapping[str, str] = field(hash=False)  # name: one letter for each row
    functions: tuple[GateFunction, ...]  # the usual ones of its gates: f, g, h
    chosen: tuple[GateFunction, ...] | None = None  # in their place; with `clip` never None
    clip: float | None = None  # pre-activations are bounded to [-clip, clip]

    @cached_property
    def key(self) -> Any:
        """What the kernels take."""
        return self.name if self.chosen is None else (self.name, self.chosen, self.bound)

    @property
    def bound(self) -> float:
        """The clip, or infinity."""
        return math.inf if self.clip is None else self.clip

    @property
    def gates(self) -> int:
        """G."""
        return len(self.gate_letters)

    @property
    def slots(self) -> int:
        """S."""
        return len(self.wiring)

    @property
    def needs_hidden(self) -> bool:
        """Whether it means nothing without R: a gate of its own resets what R meets."""
        return "q" in self.wiring

    @property
    def has_c(self) -> bool:
        """Whether it carries a second state c beside h."""
        return "c" in self.states

    def shapes(self, input_size: int, hidden_size: int, bias: bool) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter, in the order of `Weights`."""
        rows = self.gates * hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size),
        }
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        own = self.unit_parameters.items()
        return shapes | {name: (len(letters), hidden_size) for name, letters in own}


_CELLS = {
    row["name"]: Cell(
        row["name"],
        row["gates"],
        row["wiring"],
        row["states"],
        row["unit_parameters"],
        tuple(map(GateFunction, row["functions"])),
    )
    for row in core.cells()
}


def cells() -> tuple[Cell, ...]:
    """Return all rows of the cell table."""
    return tuple(_CELLS.values())


def cell_named(name: Any) -> Cell:
    """Return the row of the cell table; ValueError lists the names."""
    return _CELLS[choice("cell", name, tuple(_CELLS))]
