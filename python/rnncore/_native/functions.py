"""The functions of a cell's gates, as users name them; ONNX's names, defaults and order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnncore._checks import boolean, choice, number
from rnncore._memory import empty
from rnncore._native.cells import Cell, GateFunction, cell_named
from rnncore._native.isa import core
from rnncore._types import Array

# By name what alpha and beta are where they are not given. ONNX has none for scaled_tanh.
FUNCTIONS: dict[str, tuple[float, ...]] = {
    "sigmoid": (),
    "tanh": (),
    "relu": (),
    "affine": (1.0, 0.0),
    "leaky_relu": (0.01,),
    "thresholded_relu": (1.0,),
    "scaled_tanh": (1.0, 1.0),
    "hard_sigmoid": (0.2, 0.5),
    "elu": (1.0,),
    "softsign": (),
    "softplus": (),
}

# alpha, beta and a clip mean the same in both dtypes.
_LARGEST = float(np.finfo(np.float32).max)
_LEAST = float(np.finfo(np.float32).smallest_normal)

UserFunction = str | tuple[Any, ...]  # a name, or (name, alpha), or (name, alpha, beta)


def chosen_cell(cell: str, activations: Any, clip: Any) -> Cell:
    """Return the row of the cell table with the functions and the bound of one direction."""
    row = cell_named(cell)
    return _with_functions(row, read_activations(row, activations, 1), read_clip(clip))


def chosen_cells(cell: str, activations: Any, clip: Any, bidirectional: bool) -> tuple[Cell, ...]:
    """Return a cell for each direction; ValueError or TypeError names the argument."""
    directions = 2 if boolean("bidirectional", bidirectional) else 1
    row, bound = cell_named(cell), read_clip(clip)
    functions = read_activations(row, activations, directions)
    count = len(row.functions)
    return tuple(
        _with_functions(row, functions[count * d : count * (d + 1)], bound)
        for d in range(directions)
    )


def nonlinear_cells(nonlinearity: Any, clip: Any, bidirectional: bool) -> tuple[Cell, ...]:
    """Return an RNN's cell for each direction: of one function, or of one for each direction."""
    directions = 2 if boolean("bidirectional", bidirectional) else 1
    bound = read_clip(clip)
    if _is_one(nonlinearity):
        functions = [read_function("nonlinearity", nonlinearity)] * directions
    else:
        functions = _read_each("nonlinearity", nonlinearity, 1, directions)
        functions *= directions // len(functions)
    return tuple(
        _with_functions(cell_named(f"rnn_{f.name if f.name == 'relu' else 'tanh'}"), (f,), bound)
        for f in functions
    )


def read_activations(row: Cell, activations: Any, directions: int) -> tuple[GateFunction, ...]:
    """Return the functions of all directions, forward first; None: the usual ones."""
    if activations is None:
        return row.functions * directions
    functions = _read_each("activations", activations, len(row.functions), directions)
    return tuple(functions) * (len(row.functions) * directions // len(functions))


def read_function(name: str, value: Any) -> GateFunction:
    """Return a function that a user gave by its name, alone or with alpha and beta."""
    kind, *given = value if isinstance(value, (list, tuple)) and value else (value,)
    usual = FUNCTIONS[choice(name, kind, tuple(FUNCTIONS))]
    if len(given) > len(usual):
        symbols = ("alpha", "beta")[: len(usual)]
        expected = f"({', '.join((repr(kind), *symbols))})" if symbols else repr(kind)
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    numbers = [
        number(f"{name}: {symbol}", own)
        for symbol, own in zip(("alpha", "beta"), given, strict=False)
    ]
    for symbol, own in zip(("alpha", "beta"), numbers, strict=False):
        if not abs(own) <= _LARGEST:
            raise ValueError(f"{name}: {symbol}: expected a number that float32 holds, got {own!r}")
    return GateFunction(str(kind), *numbers, *usual[len(numbers) :])


def activations_of(cells: Sequence[Cell]) -> tuple[UserFunction, ...]:
    """Return the functions of a layer's cells as a user gives them, once if they are the same."""
    each = [cell.functions if cell.chosen is None else cell.chosen for cell in cells]
    functions = each[0] if len(set(each)) == 1 else sum(each, ())
    return tuple(map(_as_user, functions))


def read_clip(clip: Any) -> float | None:
    """Return a bound above 0, or None; TypeError for no number, ValueError for others."""
    if clip is None:
        return None
    expected = "None or a number above 0 that float32 holds"
    bound = number("clip", clip, expected)
    if not _LEAST <= bound <= _LARGEST:
        raise ValueError(f"clip: expected {expected}, got {clip!r}")
    return bound


def gate_values(cell: Cell, letter: str, kept: Array) -> Array:
    """Return a gate's values out of what a tape keeps of it."""
    if cell.chosen is None:
        return kept
    function = cell.chosen[1 if letter in "gn" else 0]  # the candidates'
    return apply_function(function, kept, cell.bound)[0]


def apply_function(
    function: GateFunction, z: Array, bound: float = math.inf
) -> tuple[Array, Array]:
    """Return y and dy/dz of floats, which are not looked at; of z bounded to [-bound, bound]."""
    z = np.ascontiguousarray(z)
    y, derivative = empty(z.shape, z.dtype), empty(z.shape, z.dtype)
    core.gate_function(function, bound, z.reshape(-1), y.reshape(-1), derivative.reshape(-1))
    return y, derivative


def _with_functions(row: Cell, functions: tuple[GateFunction, ...], clip: float | None) -> Cell:
    if functions == row.functions and clip is None:
        return row
    return replace(row, chosen=functions, clip=clip)


def _as_user(function: GateFunction) -> UserFunction:
    """Return a name alone, or with numbers that are not the usual ones."""
    usual = FUNCTIONS[function.name]
    given = function[1 : 1 + len(usual)]
    return function.name if given == usual else (function.name, *given)


def _is_one(value: Any) -> bool:
    """Whether this is one function, alone or with its numbers, not a list of some."""
    if not isinstance(value, (list, tuple)) or not value:
        return True
    first, *rest = value
    return isinstance(first, str) and not any(isinstance(part, (str, list, tuple)) for part in rest)


def _read_each(name: str, values: Any, count: int, directions: int) -> list[GateFunction]:
    """Return the functions of one direction or of all of them."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{name}: expected a tuple of functions, got {values!r}")
    if len(values) not in (count, count * directions):
        expected = f"{count}" if directions == 1 else f"{count} or {count * directions}"
        raise ValueError(f"{name}: expected {expected} functions, got {len(values)}: {values!r}")
    return [read_function(f"{name}[{k}]", value) for k, value in enumerate(values)]
