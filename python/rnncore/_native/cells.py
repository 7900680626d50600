"""The kernels' cell table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnncore._checks import choice
from rnncore._native.isa import core


@dataclass(frozen=True)
class Cell:
    """A row of the kernels' cell table."""

    name: str
    gate_letters: str  # one for each block of H rows in the weights
    slots: int  # S: numbers per unit and step that backward needs
    states: str  # one letter per state: "h" or "hc"
    unit_parameters: Mapping[str, str] = field(hash=False)  # name: one letter for each row

    @property
    def gates(self) -> int:
        """G."""
        return len(self.gate_letters)

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
        row["name"], row["gates"], len(row["wiring"]), row["states"], row["unit_parameters"]
    )
    for row in core.cells()
}


def cells() -> tuple[Cell, ...]:
    """Return all rows of the cell table."""
    return tuple(_CELLS.values())


def cell_named(name: Any) -> Cell:
    """Return the row of the cell table; ValueError lists the names."""
    return _CELLS[choice("cell", name, tuple(_CELLS))]
