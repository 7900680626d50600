"""Parameters of a stack of recurrent layers: which there are, their shapes, views and names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import DTypeLike

from rnncore._checks import boolean, fraction, generator, positive_int
from rnncore._native.cells import cell_named
from rnncore._native.closed_loop import Loop, OutputWeights
from rnncore._native.isa import core
from rnncore._native.layer import Weights
from rnncore._types import Array, Seed
from rnncore.init import check_scheme, fill_cell
from rnncore.layers._readout import read_output
from rnncore.layers._streaming import make_stepper
from rnncore.module import Module, constructor_text

_MAX_LAYERS = 1024  # each costs Python objects, which no allocation could refuse at once


class RecurrentParameters(Module):
    """What a recurrent layer is built of; how it runs is `Recurrent`."""

    _views = (
        *(*Module._views, "_weights", "_slopes", "_projections", "_projection_slopes"),
        *("_output_weights", "_output_slopes", "_stepper", "_caches"),
    )

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: DTypeLike,
        rng: Seed,
        init: str,
        proj_size: int = 0,
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
    ) -> None:
        self._cell = cell_named(cell)
        self.input_size = positive_int("input_size", input_size)
        self.hidden_size = positive_int("hidden_size", hidden_size)
        self.num_layers = positive_int("num_layers", num_layers, _MAX_LAYERS)
        self.bias = boolean("bias", bias)
        self.batch_first = boolean("batch_first", batch_first)
        self.dropout = fraction("dropout", dropout)
        if self.dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout: acts between layers, so it changes nothing with num_layers=1",
                stacklevel=3,
            )
        self.bidirectional = boolean("bidirectional", bidirectional)
        self.proj_size = self._check_projection(proj_size)
        self._output = read_output(output_size, recurrence, output_activation, feedback_delays)
        self._check_output()
        self.rng = generator(rng)
        check_scheme(init)
        self._directions = 2 if bidirectional else 1
        self._width = self.proj_size or self.hidden_size  # of y in one direction, and of state h
        self._names: list[dict[str, str]] = []  # per layer and direction: "bias_ih" -> its own name
        shapes: dict[str, tuple[int, ...]] = {}
        outer = self._output.shapes(self._cell, self.hidden_size, self.bias)
        self._output_names = {name: f"{name}_l0" if name == "weight_oh" else name for name in outer}
        for layer in range(self.num_layers):
            own = self._layer_shapes(self._width * self._directions if layer else self.input_size)
            for suffix in ("", "_reverse")[: self._directions]:
                names = {name: f"{name}_l{layer}{suffix}" for name in own}
                shapes |= {names[name]: shape for name, shape in own.items()}
                self._names.append(names)
        shapes |= {self._output_names[name]: shape for name, shape in outer.items()}
        super().__init__(shapes, dtype)
        for k, names in enumerate(self._names):
            filled = names | (self._output_names if k == 0 else {})
            parameters = {short: self.parameters[name] for short, name in filled.items()}
            fill_cell(self._cell, parameters, init, self.rng)

    def _check_projection(self, proj_size: int) -> int:
        """Return the width of the projected h; 0 = none."""
        if proj_size == 0 and not isinstance(proj_size, bool):
            return 0
        size = positive_int("proj_size", proj_size)
        if size >= self.hidden_size:
            raise ValueError(
                f"proj_size: expected fewer than hidden_size = {self.hidden_size}, got {size}"
            )
        return size

    def _check_output(self) -> None:
        """Refuse what makes no sense together with outputs of the layer's own."""
        if self._output.size == 0:
            return
        if self.bidirectional:
            raise ValueError(
                "bidirectional: expected False with output_size: the reverse direction would need "
                "outputs of steps that are still to come"
            )
        if self.dropout > 0:
            raise ValueError(f"dropout: expected 0.0 with output_size, got {self.dropout}")
        if self.proj_size:
            raise ValueError(f"proj_size: expected 0 with output_size, got {self.proj_size}")

    def _layer_shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of one layer in one direction."""
        H, rows = self.hidden_size, self._cell.gates * self.hidden_size
        shapes = self._cell.shapes(features, H, self.bias)
        if not self._output.hidden:
            del shapes["weight_hh"]
        if self.proj_size:
            shapes["weight_hh"] = (rows, self.proj_size)
            shapes["weight_hr"] = (self.proj_size, H)
        return shapes

    @property
    def output_size(self) -> int | None:
        """O, where the layer has outputs of its own; else None."""
        return self._output.size or None

    @property
    def recurrence(self) -> tuple[str, ...]:
        """What feeds back: some of "hidden", "output_to_hidden", "output_to_output"."""
        return self._output.recurrence

    @property
    def output_activation(self) -> str:
        """The activation phi of the outputs."""
        return self._output.activation

    @property
    def feedback_delays(self) -> tuple[int, ...]:
        """Steps after which an output feeds back."""
        return self._output.delays

    @property
    def output_features(self) -> int:
        """Features of y: O, or D times hidden_size or proj_size."""
        return self._output.size or self._directions * self._width

    def _place(self, parameters: Array, grads: Array) -> None:
        super()._place(parameters, grads)
        both = (self.parameters, self.grads)
        self._weights, self._slopes = ([self._weights_of(v, n) for n in self._names] for v in both)
        self._projections, self._projection_slopes = (
            [
                OutputWeights(views[names["weight_hh"]], views[names["weight_hr"]])
                for names in self._names
                if self.proj_size
            ]
            for views in both
        )
        self._output_weights, self._output_slopes = (self._output_weights_of(v) for v in both)
        self._caches = [core.weight_cache() for _ in self._weights]
        plain = not (self.bidirectional or self.proj_size or self._output.size)
        self._stepper = make_stepper(self._cell, self._weights if plain else [])

    def _weights_of(self, views: Mapping[str, Array], names: Mapping[str, str]) -> Weights:
        own = {short: views[name] for short, name in names.items()}
        hidden = None if self.proj_size else own.get("weight_hh")  # else it is U: _projections
        return Weights(own["weight_ih"], hidden, own.get("bias_ih"), own.get("bias_hh"))

    def _output_weights_of(self, views: Mapping[str, Array]) -> OutputWeights | None:
        if not self._output.size:
            return None
        own = {short: views[name] for short, name in self._output_names.items()}
        return OutputWeights(
            own.get("weight_oh"), own["weight_ho"], own.get("weight_oo"), own.get("bias_o")
        )

    def _outer(self) -> tuple[OutputWeights, OutputWeights]:
        """Return readout and feedback of a layer that has them, and their gradients."""
        assert self._output_weights is not None
        assert self._output_slopes is not None
        return self._output_weights, self._output_slopes

    def _loop(self, k: int = 0, reverse: bool = False) -> Loop:
        """Return what the closed-loop kernels take: the stack, or layer k with its projection."""
        if self.proj_size:
            weights, outer = [self._weights[k]], self._projections[k]
        else:
            weights, outer = self._weights, self._outer()[0]
        output = self._output
        return Loop(self._cell, weights, outer, output.activation, output.delays, reverse)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return the constructor's options by name: value and default."""
        return {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, True),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "proj_size": (self.proj_size, 0),
            "output_size": (self.output_size, None),
            "recurrence": (self.recurrence, ("hidden",)),
            "output_activation": (self.output_activation, "identity"),
            "feedback_delays": (self.feedback_delays, (1,)),
            "dtype": (self.dtype.name, "float32"),
        }

    def __repr__(self) -> str:
        return constructor_text(self, (self.input_size, self.hidden_size), self._options())
