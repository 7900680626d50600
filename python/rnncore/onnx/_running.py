"""Running a graph node by node, forward and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rnncore._checks import as_array, as_booleans, as_integers
from rnncore._types import Array
from rnncore.onnx._plan import Node
from rnncore.onnx._recurrent_nodes import (
    KINDS,
    WEIGHTS,
    B,
    P,
    R,
    X,
    backward_recurrent,
    check_weights,
    layer_options,
    layer_parameters,
    run_recurrent,
)
from rnncore.onnx._shape_operators import OPERATORS

# A RuntimeError is what numpy has for arrays of more than 32 axes.
_FAILURES = (ArithmeticError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)


def build_layer(entry: Mapping[str, Any], dtype: Any) -> Any:
    """Return the layer of a recurrent node; its numbers are anything."""
    op = entry["op"]
    options = layer_options(op, entry["attributes"], bias=entry["bias"], peephole=entry["peephole"])
    return KINDS[op](
        entry["input_size"], entry["hidden_size"], batch_first=False, dtype=dtype, rng=0,
        init="torch", **options,
    )  # fmt: skip


def read_input(entry: Mapping[str, Any], value: Any, real: np.dtype[Any]) -> Array:
    """Return an input of a graph of the float type `real`, checked against what it should be."""
    name, dtype, dims = entry["name"], np.dtype(entry["dtype"]), entry["dims"]
    if dtype.kind == "f":
        array = as_array(name, value, real, contiguous=True)
    elif dtype.kind == "b":
        array = as_booleans(name, value)
    else:
        integers = as_integers(name, value)
        array = integers.astype(dtype)
        if (array != integers).any():
            raise ValueError(f"{name}: expected integers of {dtype}, got larger ones")
    if dims is not None:
        known = zip(dims, array.shape, strict=False)
        fits = [not isinstance(dim, int) or dim in (0, size) for dim, size in known]
        if len(dims) != array.ndim or not all(fits):
            shape = ", ".join(str(dim or "any") for dim in dims)
            raise ValueError(f"{name}: expected ({shape}), got {array.shape}")
    return array


def run_node(
    node: Node,
    values: dict[str, Any],
    layers: Mapping[str, Any],
    dtype: np.dtype[Any],
    tapes: list[Any] | None,
) -> None:
    """Compute a node's outputs into `values`; with `tapes` keep what its gradient needs."""
    read = [values[name] if name else None for name in node.inputs]
    training = tapes is not None
    made: tuple[Any, ...]
    try:
        if node.op in KINDS:
            layer = _layer(node, read, layers, dtype, training=training)
            made, kept = run_recurrent(layer, node.at.attributes, read, training=training)
            if tapes is not None:
                tapes.append(kept)
        else:
            made = OPERATORS[node.op].forward(node.at, read)
    except _FAILURES as error:
        kinds = (IndexError, TypeError)
        kind = next((each for each in kinds if isinstance(error, each)), ValueError)
        raise kind(f"{node.title}: {error}") from error
    for name, value in zip(node.outputs, made, strict=False):
        if value.dtype.kind == "f" and value.dtype != dtype:
            raise TypeError(f"{node.title}: expected {dtype}, got {value.dtype}")
        values[name] = value


def _layer(
    node: Node, read: list[Any], layers: Mapping[str, Any], dtype: Any, *, training: bool
) -> Any:
    """Return the layer of a recurrent node, built of its inputs where these are no weights."""
    if node.layer is not None:
        return layers[node.layer]
    if training:
        raise ValueError("expected W, R, B and P to be initializers, which can be trained")
    attributes, given = node.at.attributes, dict(enumerate(read))
    arrays = {place: given[place] for place in WEIGHTS[node.op] if given.get(place) is not None}
    entry = {
        "op": node.op,
        "attributes": attributes,
        "bias": B in arrays,
        "peephole": P in arrays,
        "input_size": check_weights(node.op, attributes, arrays),
        "hidden_size": arrays[R].shape[2],
    }
    layer = build_layer(entry, dtype)
    layer.load_state_dict(layer_parameters(layer, node.op, arrays))
    return layer


def node_gradients(
    node: Node, kept: Any, values: Mapping[str, Any], douts: list[Any], reached: frozenset[str]
) -> list[tuple[str, Array]]:
    """Return the gradients of a node's inputs by name, of those that are `reached`."""
    found: Iterable[Any]
    if node.op in KINDS:
        dx, dh, dc = backward_recurrent(kept, douts, input_gradient=node.inputs[X] in reached)
        found = (dx, None, None, None, None, dh, dc)
    else:
        backward = OPERATORS[node.op].backward
        if backward is None or not reached.intersection(node.inputs):
            return []
        read = [values[name] if name else None for name in node.inputs]
        made = [values.get(name) for name in node.outputs]
        found = backward(node.at, read, made, douts)
    return [
        (name, gradient)
        for name, gradient in zip(node.inputs, found, strict=False)
        if gradient is not None and name in reached
    ]
