"""The kernels' cell table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnncore._checks import choice
from rnncore._native.isa import core


@dataclass(frozen=True)
class Cell:
    """A row of the kernels' cell table."""

    name: str
    gates: int  # G: blocks of H rows in the weights
    slots: int  # S: numbers per unit and step that backward needs
    states: str  # one letter per state: "h" or "hc"

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
        return shapes | ({"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {})


_CELLS = {
    row["name"]: Cell(row["name"], len(row["gates"]), len(row["wiring"]), row["states"])
    for row in core.cells()
}


def cells() -> tuple[Cell, ...]:
    """Return all rows of the cell table."""
    return tuple(_CELLS.values())


def cell_named(name: Any) -> Cell:
    """Return the row of the cell table; ValueError lists the names."""
    return _CELLS[choice("cell", name, tuple(_CELLS))]
