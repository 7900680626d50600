"""A stack of recurrent layers as data: what it is built of, its parameters' names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnncore._native.cells import Cell
from rnncore._native.closed_loop import OutputWeights
from rnncore._native.layer import Weights
from rnncore._types import Array
from rnncore.layers._regularisers import NONE, Regularisers

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Readout:
    """The readout y_t = phi(P h_t + Q f_t + b_o) of a stack, and where f_t, its past, goes."""

    size: int  # O
    recurrence: tuple[str, ...]
    activation: str  # phi
    delays: tuple[int, ...]  # f_t = [y_{t-d} for every delay d]

    @cached_property
    def feeds_back(self) -> bool:
        """Whether there is U or Q."""
        return self.recurrence != ("hidden",)

    @cached_property
    def longest_delay(self) -> int:
        """M: so many outputs belong to a state."""
        return max(self.delays)

    def shapes(self, cell: Cell, hidden_size: int, bias: bool) -> Shapes:
        """Return the shape of each parameter of `OutputWeights` that is there."""
        shapes: Shapes = {}
        fed = self.size * len(self.delays)
        if "output_to_hidden" in self.recurrence:
            shapes["weight_oh"] = (cell.gates * hidden_size, fed)
        shapes["weight_ho"] = (self.size, hidden_size)
        if "output_to_output" in self.recurrence:
            shapes["weight_oo"] = (self.size, fed)
        if bias:
            shapes["bias_o"] = (self.size,)
        return shapes


@dataclass(frozen=True)
class StackSpec:
    """What does not change from call to call; layers lie in memory order, forward direction first.

    Without `readout` the outputs are h; without `proj_size` h is not projected.
    """

    cells: tuple[Cell, ...]  # of each direction: they differ in their functions alone
    input_size: int  # I
    hidden_size: int  # H
    num_layers: int
    bias: bool
    directions: int  # 2: a second direction reads each sequence from its own end
    proj_size: int  # 0: no projection
    readout: Readout | None
    dtype: np.dtype[Any]
    one_step: bool = False  # a cell: its parameters bear no layer's name
    regularisers: Regularisers = NONE
    learn_initial_state: bool = False

    @property
    def cell(self) -> Cell:
        """The first direction's, for what they share."""
        return self.cells[0]

    def cell_of(self, k: int) -> Cell:
        """Return the cell of layer and direction k."""
        return self.cells[k % self.directions]

    @cached_property
    def depth(self) -> int:
        """K: layers times directions, the first dimension of a state."""
        return self.num_layers * self.directions

    @cached_property
    def width(self) -> int:
        """Features of h in one direction: of the state h, and of y without readout."""
        return self.proj_size or self.hidden_size

    @cached_property
    def features(self) -> int:
        """Features of y."""
        return self.directions * self.width if self.readout is None else self.readout.size

    @cached_property
    def feeds_back(self) -> bool:
        """Whether outputs feed back."""
        return self.readout is not None and self.readout.feeds_back

    @cached_property
    def layer_names(self) -> list[dict[str, str]]:
        """Names of the parameters of each layer and direction: "weight_ih" -> "weight_ih_l0"."""
        if self.one_step:
            return [{short: short for short in self._layer_shapes(0)}]
        suffixes = ("", "_reverse")[: self.directions]
        return [
            {short: f"{short}_l{layer}{suffix}" for short in self._layer_shapes(layer)}
            for layer in range(self.num_layers)
            for suffix in suffixes
        ]

    @cached_property
    def readout_names(self) -> dict[str, str]:
        """Names of the readout's parameters; U belongs to the first layer."""
        return {
            short: f"{short}_l0" if short == "weight_oh" else short
            for short in self._readout_shapes()
        }

    def shapes(self) -> Shapes:
        """Return the shape of every parameter by its own name, in the order of the buffer."""
        shapes: Shapes = {}
        for k, names in enumerate(self.layer_names):
            own = self._layer_shapes(k // self.directions)
            shapes |= {names[short]: shape for short, shape in own.items()}
        outer = self._readout_shapes()
        shapes |= {self.readout_names[short]: shape for short, shape in outer.items()}
        return shapes | self._state_shapes()

    def _state_shapes(self) -> Shapes:
        """Return the shapes of the learned initial state, where there is one."""
        if not self.learn_initial_state:
            return {}
        shapes: Shapes = {"initial_h": (self.depth, self.width)}
        if self.cell.has_c:
            shapes["initial_c"] = (self.depth, self.hidden_size)
        return shapes

    def _readout_shapes(self) -> Shapes:
        if self.readout is None:
            return {}
        return self.readout.shapes(self.cell, self.hidden_size, self.bias)

    def _layer_shapes(self, layer: int) -> Shapes:
        """Return the shapes of one layer in one direction."""
        features = self.directions * self.width if layer else self.input_size
        shapes = self.cell.shapes(features, self.hidden_size, self.bias)
        if self.readout is not None and "hidden" not in self.readout.recurrence:
            del shapes["weight_hh"]
        if self.proj_size:
            shapes["weight_hh"] = (self.cell.gates * self.hidden_size, self.proj_size)
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes


class StackArrays(NamedTuple):
    """Parameters of a stack, or their gradients: views into one flat buffer.

    With a projection weight_hh is U of a closed loop, whose readout weight_hr is: `projections`.
    """

    layers: Sequence[Weights]
    projections: Sequence[OutputWeights]  # empty without projection
    readout: OutputWeights | None

    @staticmethod
    def of(spec: StackSpec, views: Mapping[str, Array]) -> StackArrays:
        """Sort named views into groups."""
        layers, projections = [], []
        for names in spec.layer_names:
            own: dict[str, Any] = {short: views[name] for short, name in names.items()}
            if spec.proj_size:
                projections.append(OutputWeights(own.pop("weight_hh"), own.pop("weight_hr")))
            layers.append(Weights.of(spec.cell, own))
        outer: dict[str, Any] = {short: views[name] for short, name in spec.readout_names.items()}
        readout = OutputWeights(**{"weight_oh": None} | outer) if outer else None
        return StackArrays(layers, projections, readout)
