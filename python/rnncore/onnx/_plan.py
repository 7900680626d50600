"""The nodes of a graph as they are run: every name and attribute checked."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.onnx._operators import NUMPY_TYPES, At
from rnncore.onnx._recurrent_nodes import ATTRIBUTES, KINDS, OUTPUTS, layer_options
from rnncore.onnx._shape_operators import OPERATORS

OPSETS = (7, 28)  # since broadcasting is as it is now; the newest that was tried
# What each attribute is: a number, text, or a list of them.
_INTEGER, _REAL, _TEXT = "an integer", "a float", "text"
_INTEGERS, _REALS, _TEXTS, _ARRAY = "integers", "floats", "texts", "a tensor"
_WITH_TYPES = {
    _INTEGER: "axis keepdims noop_with_empty_axes transA transB allowzero num_outputs start end to "
    "saturate seed hidden_size layout linear_before_reset input_forget time_axis batch_axis",
    _INTEGERS: "axes perm split starts ends",
    _REAL: "alpha beta min max ratio clip",
    _REALS: "activation_alpha activation_beta",
    _TEXT: "direction round_mode",
    _TEXTS: "activations",
    _ARRAY: "value",
}
_TYPES = {name: kind for kind, names in _WITH_TYPES.items() for name in names.split()}
_NUMBERS = {np.dtype(dtype).name: number for number, dtype in NUMPY_TYPES.items()}


@dataclass(eq=False, slots=True)
class Node:
    """One node.

    Attributes
    ----------
    title : str
        What errors call it.
    op : str
    inputs, outputs : tuple of str
        Names of values; "" where there is none.
    at : At
    layer : str or None
        Of a recurrent node whose weights are its own.
    last : tuple of str
        Values that no later node reads.
    """

    title: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    at: At
    layer: str | None
    last: tuple[str, ...] = ()


def packed(array: Array) -> dict[str, Any]:
    """Return an array as plain data."""
    text = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
    return {"dtype": array.dtype.name, "dims": list(array.shape), "data": text}


def unpacked(name: str, plain: Any) -> Array:
    """Return the array that `packed` made plain; ValueError for other data."""
    try:
        dtype, dims = NUMPY_TYPES[_NUMBERS[plain["dtype"]]], tuple(plain["dims"])
        data = base64.b64decode(plain["data"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{name}: expected a packed array ({error!r})") from None
    known = all(type(dim) is int and dim >= 0 for dim in dims)
    if not known or len(data) != math.prod(dims) * dtype.itemsize:
        raise ValueError(f"{name}: expected data for {dims}, got {len(data)} bytes")
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(dims)


def build_plan(description: Mapping[str, Any], dtype: np.dtype[Any]) -> list[Node]:
    """Return the nodes in their order.

    Raises ValueError for an input without a type, a name that is made twice or nowhere, an operator
    or attribute that is unknown, more or fewer inputs than it takes, or more outputs than it has.
    """
    opset = description["opset"]
    made: set[str] = set()
    sources = [_source(entry) for entry in description["inputs"]]
    for name in [*sources, *description["constants"], *description["weights"]]:
        _make(made, name, "graph")
    later = {name for entry in description["nodes"] for name in entry["outputs"]}
    nodes = []
    for entry in description["nodes"]:
        node = _node(entry, opset, dtype, description["layers"])
        for name in node.inputs:
            if name and name not in made:
                raise ValueError(f"{node.title}: {_missing(name, later)}")
        for name in node.outputs:
            if name:
                _make(made, name, node.title)
        nodes.append(node)
    for name in description["outputs"]:
        if name not in made:
            raise ValueError(f"output {name!r}: expected a value of the graph, got none")
    _find_last(nodes, {*description["outputs"], *description["constants"], *description["weights"]})
    return nodes


def _source(entry: Mapping[str, Any]) -> str:
    """Return the name of an input; ValueError unless its type and dimensions are such."""
    name, dtype, dims = entry["name"], entry["dtype"], entry["dims"]
    known = isinstance(name, str) and isinstance(dtype, str) and dtype in _NUMBERS
    sizes = dims if isinstance(dims, list) else []
    fits = all(isinstance(dim, str) or (type(dim) is int and dim >= 0) for dim in sizes)
    if not (known and fits and (dims is None or isinstance(dims, list))):
        raise ValueError(f"input {name!r}: expected type and dimensions, got {dtype!r}, {dims!r}")
    return str(name)


def _make(made: set[str], name: str, where: str) -> None:
    if name in made:
        raise ValueError(f"{where}: expected names once, got {name!r} twice")
    made.add(name)


def _missing(name: str, later: set[str]) -> str:
    if name in later:
        return f"expected input {name!r} from an earlier node, got one in a cycle or out of order"
    return f"expected input {name!r}, got no node, input or initializer of that name"


def _node(entry: Any, opset: int, dtype: np.dtype[Any], layers: Any) -> Node:
    op, inputs = entry["op"], tuple(entry["inputs"])
    outputs = tuple(entry["outputs"])
    title = f"node {entry['name']!r} ({op})"
    if not all(isinstance(name, str) for name in (op, *inputs, *outputs)):
        raise ValueError(f"{title}: expected names of values, got {[*inputs, *outputs]}")
    if op not in OPERATORS and op not in KINDS:
        raise ValueError(f"{title}: expected an operator that rnncore has, got {op!r}")
    operator = OPERATORS.get(op)
    known = ATTRIBUTES[op] if operator is None else operator.attributes
    attributes = {}
    for name, value in entry["attributes"].items():
        if name not in known.split():
            raise ValueError(f"{title}: expected attributes {known or 'none'!r}, got {name!r}")
        attributes[name] = _attribute(title, name, value)
    least, most = (1, 8 if op == "LSTM" else 6) if operator is None else operator.inputs
    if not least <= len(inputs) <= most or "" in inputs[:least]:
        raise ValueError(f"{title}: expected {least} to {most} inputs, got {list(inputs)}")
    if not any(outputs):
        raise ValueError(f"{title}: expected an output, got none")
    known_outputs = OUTPUTS[op] if operator is None else operator.outputs
    if len(outputs) > known_outputs:
        raise ValueError(f"{title}: expected at most {known_outputs} outputs, got {list(outputs)}")
    layer = entry.get("layer")
    if layer is not None and (operator is not None or layer not in layers):
        raise ValueError(f"{title}: expected a layer of the graph, got {layer!r}")
    if operator is None and layer is None and "" in (*inputs, "", "")[:3]:
        raise ValueError(f"{title}: expected inputs X, W and R, got {list(inputs)}")
    if operator is None:
        try:
            layer_options(op, attributes, bias="" not in inputs[3:4], peephole=False)
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from None
    at = At(attributes, opset, dtype, len(outputs))
    return Node(title, op, inputs, outputs, at, layer)


def _attribute(title: str, name: str, value: Any) -> Any:
    """Return an attribute's value; ValueError if it is of another type than it should be."""
    wanted = _TYPES[name]
    if isinstance(value, Mapping) and wanted == _ARRAY:
        return unpacked(f"{title}: {name}", value)
    many = {_INTEGERS: int, _REALS: float, _TEXTS: str}
    if wanted in many:
        fits = isinstance(value, list) and all(type(each) is many[wanted] for each in value)
    else:
        fits = type(value) is {_INTEGER: int, _REAL: float, _TEXT: str}.get(wanted)
    if not fits:
        raise ValueError(f"{title}: {name}: expected {wanted}, got {value!r}")
    return value


def _find_last(nodes: list[Node], kept: set[str]) -> None:
    """Note at each node the values that nobody needs behind it."""
    seen = set(kept)
    for node in reversed(nodes):
        names = {name for name in (*node.inputs, *node.outputs) if name}
        node.last = tuple(names - seen)
        seen |= names
