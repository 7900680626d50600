"""What a model is made of, and whether its gradients are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import generator, number, positive_int
from rnncore._html import folded, table
from rnncore._types import Array, Seed
from rnncore.layers.embedding import Embedding
from rnncore.module import Module
from rnncore.training.protocol import Trainable

__all__ = ["GradientCheck", "Part", "Summary", "check_gradients", "summary"]

_HEADS = "part", "parameters", "bytes", "flops a step"
_STATES = ("initial_h", "initial_c")  # learned states meet no product


def __dir__() -> list[str]:
    return __all__


class Part(NamedTuple):
    """A module inside another.

    Attributes
    ----------
    name : str
        Its path, as in the parameters' names; empty for the whole.
    kind : str
        Its constructor's call.
    parameters : int
        Trainable numbers.
    bytes : int
        Memory of these, with as much again for their gradients.
    flops : int
        Of its products, for one time step of one sequence forward: two for each weight. Training
        takes about three times as many.
    """

    name: str
    kind: str
    parameters: int
    bytes: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """What a model is made of; its repr is a table.

    Attributes
    ----------
    parts : tuple of Part
        The model itself, then what it is built of.
    shapes : dict of str to tuple of int
        Of all parameters.
    """

    parts: tuple[Part, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)

    def _repr_html_(self) -> str:
        """Return the same table for notebooks, the shapes folded."""
        shapes = table(["parameter", "shape"], self.shapes.items())
        return table(_HEADS, self._rows()) + folded(f"{len(self.shapes)} shapes", shapes)

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for part in self.parts:
            name = f"{part.name}: {part.kind}" if part.name else part.kind
            rows.append((name, f"{part.parameters:,}", f"{part.bytes:,}", f"{part.flops:,}"))
        return rows

    def __repr__(self) -> str:
        rows = [_HEADS, *self._rows()]
        rows += [(f"  {name} {shape}", "", "", "") for name, shape in self.shapes.items()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            row[0].ljust(widths[0]) + "".join(f"  {row[i]:>{widths[i]}}" for i in (1, 2, 3))
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines)


def summary(model: Module) -> Summary:
    """Return what a model or layer is made of: shapes, parameters, memory, operations.

    Parameters
    ----------
    model : Module

    Returns
    -------
    Summary
        Prints as a table.

    Raises
    ------
    TypeError
        If it is no model or layer.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a model or a layer, got {type(model).__name__}")
    parts = tuple(_part(name, module) for name, module in model.modules())
    return Summary(parts, {name: array.shape for name, array in model.parameters.items()})


def _part(name: str, module: Module) -> Part:
    embeddings = [inner for _, inner in module.modules() if isinstance(inner, Embedding)]
    read = {id(array) for inner in embeddings for array in inner.parameters.values()}
    arrays = [
        array
        for name, array in module.parameters.items()
        if array.ndim == 2 and id(array) not in read and name.split(".")[-1] not in _STATES
    ]
    weights = sum(array.size for array in arrays)
    flats = module.flat_parameters.nbytes + module.flat_grads.nbytes
    return Part(name, repr(module), module.num_parameters, flats, 2 * weights)


@dataclass(frozen=True)
class GradientCheck:
    """How far a model's gradients are from central differences.

    Attributes
    ----------
    errors : dict of str to float
        For each parameter the largest difference among the elements tried, relative to the largest
        gradient in the model.
    tolerance : float
        What counts as right.
    """

    errors: Mapping[str, float]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether no error is above the tolerance."""
        return all(error <= self.tolerance for error in self.errors.values())

    def __repr__(self) -> str:
        worst = max(self.errors, key=lambda name: self.errors[name])
        text = "passed" if self.passed else "failed"
        error = f"{self.errors[worst]:.1e} at {worst}, tolerance {self.tolerance:.0e}"
        return f"GradientCheck({text}: at most {error})"


def check_gradients(
    model: Trainable,
    x: Any,
    y: Any,
    *,
    lengths: Any = None,
    mask: Any = None,
    elements: int = 8,
    tolerance: float | None = None,
    rng: Seed = 0,
) -> GradientCheck:
    """Compare a model's gradients with central differences of its loss.

    For who writes a loss or a model of their own. Dropout stays on: all runs draw the same. In
    float32 differences are coarse; a model with dtype=numpy.float64 is checked to ten digits.

    Parameters
    ----------
    model : Model
        As it was afterwards, gradients included.
    x, y, lengths, mask
        A few sequences, as `fit` takes them.
    elements : int
        Numbers tried of each parameter.
    tolerance : float, optional
        1e-7 in float64, 1e-2 in float32.
    rng : int or numpy.random.Generator
        Draws the elements.

    Returns
    -------
    GradientCheck

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; what `fit` would raise of the data.
    """
    if not (isinstance(model, Module) and isinstance(model, Trainable)):
        raise TypeError(f"model: expected a model such as ManyToOne, got {type(model).__name__}")
    samples = model.training_samples(x, y, lengths, mask)
    double = model.dtype == np.float64
    if tolerance is None:
        tolerance = 1e-7 if double else 1e-2
    tolerance = number("tolerance", tolerance, "a number > 0")
    if not tolerance > 0:
        raise ValueError(f"tolerance: expected a number > 0, got {tolerance!r}")
    elements, source = positive_int("elements", elements), generator(rng)
    before, draws = model.flat_grads.copy(), list(model.generators())
    states = [each.bit_generator.state for each in draws]

    def loss() -> float:
        for each, state in zip(draws, states, strict=True):
            each.bit_generator.state = state
        model.zero_grad()
        return model.batch_gradient(samples.take(slice(None)))

    try:
        loss()
        gradients = {name: array.copy() for name, array in model.grads.items()}
        scale = max(max((np.abs(a).max(initial=0) for a in gradients.values()), default=0), 1e-30)
        step, errors = 1e-5 if double else 1e-2, {}
        for name, array in model.parameters.items():
            chosen = source.permutation(array.size)[:elements]
            found = [_difference(array.reshape(-1), i, step, loss) for i in chosen]
            wrong = np.abs(np.array(found) - gradients[name].reshape(-1)[chosen])
            errors[name] = float(wrong.max(initial=0) / scale)
    finally:
        model.flat_grads[...] = before
        for each, state in zip(draws, states, strict=True):
            each.bit_generator.state = state
    return GradientCheck(errors, tolerance)


def _difference(values: Array, i: int, step: float, loss: Any) -> float:
    """Return (L(p + step) - L(p - step)) / (2 step) for element i of a parameter."""
    value = values[i].copy()
    try:
        values[i] = value + values.dtype.type(step)
        above, up = loss(), float(values[i])
        values[i] = value - values.dtype.type(step)
        below, down = loss(), float(values[i])
    finally:
        values[i] = value
    return float((above - below) / (up - down))
