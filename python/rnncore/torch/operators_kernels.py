"""A stack of layers in rnncore's kernels, on numpy views of the tensors' memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncore._native.cells import cell_named
from rnncore._native.closed_loop import LoopTape, OutputWeights
from rnncore._native.layer import Resets, Tape, Weights, tape_rows
from rnncore._native.precision import get_float32_matmul_precision
from rnncore._types import Array
from rnncore.layers._call import Call
from rnncore.layers._layer_by_layer import LayerByLayer, Plain, Projected, StackTape, projected_loop
from rnncore.layers._layout import Layout
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.state import StackState

DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}


class Config(NamedTuple):
    """What the kernels must know of a stack beside its arrays."""

    cell: str  # a row of the kernels' cell table
    num_layers: int
    directions: int
    proj_size: int  # 0: no projection
    batch_first: bool  # x and y are (B, T, features), else (T, B, features)


class Inputs(NamedTuple):
    """The tensors that a call reads beside the weights."""

    x: Tensor
    h_0: Tensor | None  # of zeros where there is none, as c_0
    c_0: Tensor | None
    lengths: Tensor | None = None
    resets: Tensor | None = None  # laid out as x
    masks: Sequence[Tensor] = ()  # of dropout between layers, (T, B, features) each


@lru_cache(maxsize=256)
def spec_of(
    config: Config, input_size: int, gate_rows: int, bias: bool, dtype: torch.dtype
) -> StackSpec:
    """Return the stack as rnncore's engines see it."""
    cell = cell_named(config.cell)
    return StackSpec(
        cells=(cell,) * config.directions,
        input_size=input_size,
        hidden_size=gate_rows // cell.gates,
        num_layers=config.num_layers,
        bias=bias,
        directions=config.directions,
        proj_size=config.proj_size,
        readout=None,
        dtype=DTYPES[dtype],
    )


def spec_for(config: Config, weights: Sequence[Tensor]) -> StackSpec:
    """Return the spec of a stack with these weights, in torch's order."""
    per_layer = len(weights) // (config.num_layers * config.directions)
    bias = per_layer - (config.proj_size > 0) == 4
    rows, features = weights[0].shape
    return spec_of(config, int(features), int(rows), bias, weights[0].dtype)


def view(tensor: Tensor) -> Array:
    """Return a tensor's memory as an array the kernels can read, or a copy."""
    array: Array = (tensor.detach() if tensor.requires_grad else tensor).numpy(
        force=tensor.is_neg()
    )
    flags = array.flags
    if flags.aligned and (flags.c_contiguous or array.strides[-1] == array.itemsize):
        return array
    return array.copy()


def contiguous_view(tensor: Tensor) -> Array:
    """Return a tensor's memory as an array in C order, or a copy."""
    array = view(tensor)
    return array if array.flags.c_contiguous else array.copy()


@lru_cache(maxsize=256)
def places_of(spec: StackSpec) -> StackArrays:
    """Return for each weight its place in torch's order."""
    names: dict[str, Any] = {name: place for place, name in enumerate(spec.shapes())}
    return StackArrays.of(spec, names)


def arrays_of(places: StackArrays, arrays: Sequence[Array]) -> StackArrays:
    """Sort weights or their gradients, in torch's order, by layer and direction."""

    def pick(group: Iterable[Any]) -> list[Any]:
        return [None if place is None else arrays[place] for place in group]

    return StackArrays(
        [Weights(*pick(group)) for group in places.layers],
        [OutputWeights(*pick(group)) for group in places.projections],
        None if places.readout is None else OutputWeights(*pick(places.readout)),
    )


def engine_of(
    spec: StackSpec, parameters: StackArrays, gradients: StackArrays | None = None
) -> LayerByLayer:
    """Return what runs the stack; without `gradients` not backward."""
    engine = Projected if spec.proj_size else Plain
    return engine(spec, parameters, parameters if gradients is None else gradients)


def make_call(
    config: Config,
    x: Array,
    state: StackState,
    lengths: Array | None = None,
    resets: Array | None = None,
    masks: Sequence[Array] = (),
) -> Call:
    """Return a call of the engines; `masks` are (T, B, features), the rest laid out as x."""
    layout = Layout.BATCH_FIRST if config.batch_first else Layout.TIME_FIRST
    cut = None if resets is None else Resets(time_major(config, resets).copy(), "zeros")
    return Call(layout, time_major(config, x), lengths, state, masks=masks, resets=cut)


def time_major(config: Config, array: Array) -> Array:
    """Return (T, B, ...) of an array in the module's layout, or the other way round."""
    return array.swapaxes(0, 1) if config.batch_first else array


def tape_arrays(config: Config, tape: StackTape) -> list[Array]:
    """Return what a tape holds beside the call and the weights: the inverse of `tape_of`."""
    arrays: list[Array] = []
    for k, kernel in enumerate(tape.kernels):
        if k % config.directions == 0 and k > 0:  # x of a layer above the first
            arrays.append(time_major(config, kernel.x))
        if isinstance(kernel, LoopTape):
            gates, h, c = kernel.layers[0]
            arrays += [gates, h, c, kernel.y, kernel.fed]  # type: ignore[list-item]
        else:
            arrays += [kernel.gates, kernel.h]
            arrays += [] if kernel.c is None else [kernel.c]
    return arrays


def tape_of(
    config: Config, spec: StackSpec, parameters: StackArrays, call: Call, arrays: Sequence[Array]
) -> StackTape:
    """Return the tape of which `tape_arrays` gave these arrays; backward overwrites the gates.

    Arrays may be longer than the tape is.
    """
    kernels: list[Any] = []
    rest, x = iter(arrays), call.x
    T, B, _ = x.shape
    rows, pieces = tape_rows(T, B, call.lengths, call.resets)
    for k in range(spec.depth):
        reverse = k % spec.directions == 1
        if k > 0 and not reverse:
            x = time_major(config, next(rest))
        gates, h = next(rest)[:rows], next(rest)[: rows + pieces]
        c = next(rest)[: rows + pieces] if spec.cell.has_c else None
        if spec.proj_size:
            y, fed = next(rest)[:rows], next(rest)[: rows + pieces]
            loop = projected_loop(spec, parameters, k)
            kernels.append(
                LoopTape(loop, x, None, call.lengths, [(gates, h, c)], y, fed, call.resets)
            )
        else:
            kernels.append(
                Tape(
                    spec.cell, x, parameters.layers[k], call.lengths, reverse, gates, h, c, 0,
                    get_float32_matmul_precision(), resets=call.resets,
                )
            )  # fmt: skip
    return StackTape(call, kernels)


def with_own_gates(tape: StackTape) -> StackTape:
    """Return a tape with a copy of the gates, which backward overwrites."""
    kernels: list[Any] = []
    for kernel in tape.kernels:
        if isinstance(kernel, LoopTape):
            layers = [(gates.copy(), h, c) for gates, h, c in kernel.layers]
            kernels.append(replace(kernel, layers=layers))
        else:
            kernels.append(replace(kernel, gates=kernel.gates.copy()))
    return StackTape(tape.call, kernels)


def tape_shapes(spec: StackSpec, T: int, B: int, rows: int, pieces: int) -> list[tuple[int, ...]]:
    """Return the shapes of `tape_arrays`, layers' inputs as (T, B, features)."""
    H, S, P = spec.hidden_size, spec.cell.slots, spec.proj_size
    shapes: list[tuple[int, ...]] = []
    for k in range(spec.depth):
        if k % spec.directions == 0 and k > 0:
            shapes.append((T, B, spec.directions * spec.width))
        states = rows + pieces
        if P:
            shapes += [(rows, S * H), (states, H + P), (states, H), (rows, P), (states, P)]
        else:
            shapes += [(rows, S * H)] + [(states, H)] * len(spec.cell.states)
    return shapes


def most_tape_size(T: Any, B: Any, resets: Any) -> tuple[Any, Any]:
    """Return rows and pieces that are enough whatever the values in lengths and resets."""
    return T * B, B if resets is None else T * B
