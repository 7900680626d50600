"""A ModelProto as plain data that a `Graph` is built from, and the arrays of its weights."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, ValueInfoProto

from rnncore._types import Array
from rnncore.onnx._operators import NUMPY_TYPES, At
from rnncore.onnx._plan import OPSETS, packed
from rnncore.onnx._recurrent_nodes import KINDS, WEIGHTS, B, P, R, W, check_weights
from rnncore.onnx._shape_operators import OPERATORS
from rnncore.onnx._source import Beside, OnnxError, read_tensor

# What may stand between an initializer and a recurrent node: it moves numbers and makes no more.
_FOLDED = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Slice", "Split")
_SLACK = 1 << 16


class Translated:
    """What a ModelProto became.

    Attributes
    ----------
    description : dict
        Plain data, as `Graph` takes them.
    dtype : numpy.dtype
        Of all float numbers.
    weights : dict of str to numpy.ndarray
        By name, for `Graph.parameters`.
    layers : dict
        For each recurrent layer W, R, B and P by their places.
    """

    def __init__(self, model: ModelProto, folder: str | None) -> None:
        graph = model.graph
        if len(model.functions):
            raise OnnxError(f"functions: expected none, got {model.functions[0].name!r}")
        if len(graph.sparse_initializer):
            raise OnnxError("sparse_initializer: expected none, got one")
        self._beside = Beside(folder)
        self.opset = _opset(model)
        self.static: dict[str, Array] = {}  # what is known before a run
        self.roots: dict[str, frozenset[str]] = {}  # the float arrays that it is made of
        self.constants: dict[str, Array] = {}
        self.weights: dict[str, Array] = {}
        self.layers: dict[str, dict[int, Array]] = {}
        self._layer_of: dict[Any, str] = {}
        self._described: dict[str, Any] = {}
        self._read_initializers(graph)
        self._taken = {name.partition(".")[0] for name in self.weights}  # no layer's name
        self._alike: Counter[str] = Counter()  # layers that wanted a name which was taken
        self._room = sum(array.size for array in self.static.values()) + _SLACK
        inputs = [_input(info) for info in graph.input if info.name not in self.static]
        self.nodes = [entry for entry in map(self._node, graph.node) if entry is not None]
        outputs = [info.name for info in graph.output]
        _check_text("output", *outputs)
        self._drop_unread(outputs)
        self._refuse_ties()
        self.dtype = self._float_dtype(inputs)
        self.description = {
            "opset": self.opset,
            "inputs": inputs,
            "outputs": outputs,
            "nodes": self.nodes,
            "constants": {name: packed(array) for name, array in self.constants.items()},
            "weights": {name: list(array.shape) for name, array in self.weights.items()},
            "layers": self._described,
        }

    def kind_of(self, layer: str) -> str:
        """Return RNN, GRU or LSTM."""
        return str(self._described[layer]["op"])

    def _read_initializers(self, graph: Any) -> None:
        for tensor in graph.initializer:
            name = tensor.name
            _check_text("initializer", name)
            if not name or name in self.static:
                raise OnnxError(f"initializer {name!r}: expected a name of its own")
            array = read_tensor(tensor, f"initializer {name!r}", self._beside)
            self._know(name, array)
            if array.dtype.kind == "f" and array.ndim > 0:
                self.weights[name] = array
            else:
                self.constants[name] = array

    def _know(self, name: str, array: Array) -> None:
        """Note an array of the file; only floats are numbers that a layer may learn."""
        self.static[name] = array
        self.roots[name] = frozenset([name] if array.dtype.kind == "f" else [])

    def _node(self, proto: NodeProto) -> dict[str, Any] | None:
        """Return a node as plain data; None for a Constant."""
        title = f"node {proto.name!r} ({proto.op_type})"
        _check_text(title, proto.name, proto.op_type, proto.domain, *proto.input, *proto.output)
        if proto.domain not in ("", "ai.onnx"):
            raise OnnxError(f"{title}: expected the domain of ONNX, got {proto.domain!r}")
        inside = proto.op_type in OPERATORS or proto.op_type in KINDS
        if not inside and proto.op_type != "Constant":
            raise OnnxError(f"{title}: expected an operator that rnncore has")
        attributes = {}
        for attribute in proto.attribute:
            _check_text(title, attribute.name)
            if attribute.name in attributes:
                raise OnnxError(f"{title}: expected attributes once, got {attribute.name!r} twice")
            attributes[attribute.name] = self._attribute(title, attribute)
        if proto.op_type == "Constant":
            self._constant(title, proto, attributes)
            return None
        inputs, outputs = list(proto.input), list(proto.output)
        entry: dict[str, Any] = {
            "op": proto.op_type, "name": proto.name, "inputs": inputs, "outputs": outputs,
            "attributes": {
                name: packed(value) if isinstance(value, np.ndarray) else value
                for name, value in attributes.items()
            },
        }  # fmt: skip
        if proto.op_type in KINDS:
            self._own_weights(title, entry)
        elif proto.op_type in _FOLDED:
            self._fold(entry, attributes)
        return entry

    def _attribute(self, title: str, attribute: AttributeProto) -> Any:
        """Return an attribute's value as numbers, text, lists of them, or an array."""
        kind, name = attribute.type, attribute.name
        value: Any = None
        if attribute.ref_attr_name:
            kind = AttributeProto.UNDEFINED
        if kind == AttributeProto.FLOAT:
            value = attribute.f
        elif kind == AttributeProto.INT:
            value = attribute.i
        elif kind == AttributeProto.STRING:
            value = attribute.s.decode("utf-8", "replace")
        elif kind == AttributeProto.FLOATS:
            value = list(attribute.floats)
        elif kind == AttributeProto.INTS:
            value = list(attribute.ints)
        elif kind == AttributeProto.STRINGS:
            value = [text.decode("utf-8", "replace") for text in attribute.strings]
        elif kind == AttributeProto.TENSOR:
            return read_tensor(attribute.t, f"{title}: attribute {name!r}", self._beside)
        else:
            raise OnnxError(
                f"{title}: expected attributes of numbers, text or tensors, got {name!r}"
            )
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(each, float) and not math.isfinite(each) for each in numbers):
            raise OnnxError(f"{title}: expected finite numbers in {name!r}, got {value}")
        return value

    def _constant(self, title: str, proto: NodeProto, attributes: Mapping[str, Any]) -> None:
        if len(attributes) != 1 or len(proto.output) != 1 or len(proto.input):
            raise OnnxError(f"{title}: expected one attribute and one output")
        ((kind, value),) = attributes.items()
        types = {"value_int": 7, "value_ints": 7, "value_float": 1, "value_floats": 1}
        if kind in types:
            value = np.array(value, NUMPY_TYPES[types[kind]])
        elif kind != "value" or not isinstance(value, np.ndarray):
            raise OnnxError(f"{title}: expected a tensor or numbers, got {kind!r}")
        name = proto.output[0]
        if name in self.static:
            raise OnnxError(f"{title}: expected names once, got {name!r} twice")
        self.constants[name] = value
        self._know(name, value)

    def _fold(self, entry: dict[str, Any], attributes: Mapping[str, Any]) -> None:
        """Compute a node whose inputs are all known, so that a recurrent node may read it."""
        names = entry["inputs"]
        if not names or not all(name in self.static for name in names):
            return
        values = [self.static[name] for name in names]
        roots = [self.roots[name] for name in names if self.roots[name]]
        if entry["op"] == "Concat":
            self._room -= sum(value.size for value in values)
        if len(roots) > 1:
            self._room -= sum(map(len, roots))
        if self._room < 0:
            return
        at = At(attributes, self.opset, np.dtype(np.float32), len(entry["outputs"]))
        try:
            made = OPERATORS[entry["op"]].forward(at, values)
        except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError):
            return  # it fails again, with its name, when the graph is run
        for name, value in zip(entry["outputs"], made, strict=False):
            if name not in self.static:
                self.static[name] = value
                self.roots[name] = roots[0] if len(roots) == 1 else frozenset().union(*roots)

    def _own_weights(self, title: str, entry: dict[str, Any]) -> None:
        """Give a recurrent node a layer, if all its weights are known."""
        op, names = entry["op"], [*entry["inputs"], *[""] * 8]
        places = [place for place in WEIGHTS[op] if names[place]]
        if not all(names[place] in self.static for place in places) or not {W, R} <= {*places}:
            return
        arrays = {place: self.static[names[place]] for place in places}
        try:
            features = check_weights(op, entry["attributes"], arrays)
        except ValueError as error:
            raise OnnxError(f"{title}: {error}") from None
        entry["inputs"] = [
            "" if place in WEIGHTS[op] else name for place, name in enumerate(entry["inputs"])
        ]
        key = (op, repr(entry["attributes"]), *(names[place] for place in WEIGHTS[op]))
        if key not in self._layer_of:
            layer = self._layer_name(entry)
            self._layer_of[key] = layer
            self.layers[layer] = arrays
            self._described[layer] = {
                "op": op, "attributes": entry["attributes"], "input_size": features,
                "hidden_size": arrays[R].shape[2], "bias": B in arrays, "peephole": P in arrays,
            }  # fmt: skip
        entry["layer"] = self._layer_of[key]

    def _layer_name(self, entry: dict[str, Any]) -> str:
        """Return a name whose parameters no weight is called like."""
        name = wanted = re.sub(r"\W+", "_", entry["name"]).strip("_") or entry["op"].lower()
        while name in self._taken:
            self._alike[wanted] += 1
            name = f"{wanted}_{self._alike[wanted] + 1}"
        self._taken.add(name)
        return name

    def _drop_unread(self, outputs: list[str]) -> None:
        """Drop nodes and initializers that no output is made of."""
        makers: dict[str, int] = {}
        for i, entry in enumerate(self.nodes):
            for name in filter(None, entry["outputs"]):
                if makers.setdefault(name, i) != i:
                    title = f"node {entry['name']!r} ({entry['op']})"
                    raise OnnxError(f"{title}: expected names once, got {name!r} twice")
        read, waiting, kept = set(outputs), list(outputs), set()
        while waiting:
            maker = makers.get(waiting.pop())
            if maker is not None and maker not in kept:
                kept.add(maker)
                waiting += self.nodes[maker]["inputs"]
                read.update(self.nodes[maker]["inputs"])
        self.nodes = [self.nodes[i] for i in sorted(kept)]
        self.weights = {name: array for name, array in self.weights.items() if name in read}
        self.constants = {name: array for name, array in self.constants.items() if name in read}
        used = {entry.get("layer") for entry in self.nodes}
        self.layers = {name: arrays for name, arrays in self.layers.items() if name in used}
        self._described = {name: self._described[name] for name in self.layers}

    def _refuse_ties(self) -> None:
        """Raise OnnxError where a layer's weight is another's too, which training would part."""
        owner: dict[str, str] = {}
        for key, layer in self._layer_of.items():
            if layer in self.layers:
                for root in {root for name in key[2:] if name for root in self.roots[name]}:
                    if root in self.weights or owner.setdefault(root, layer) != layer:
                        raise OnnxError(
                            f"initializer {root!r}: expected weights of one recurrent node, got "
                            "some that another node reads too"
                        )

    def _float_dtype(self, inputs: list[dict[str, Any]]) -> np.dtype[Any]:
        found = {
            name: array.dtype
            for arrays in (self.weights, self.constants)
            for name, array in arrays.items()
        }
        found |= {layer: arrays[W].dtype for layer, arrays in self.layers.items()}
        found |= {entry["name"]: np.dtype(entry["dtype"]) for entry in inputs}
        real = {name: dtype for name, dtype in found.items() if dtype.kind == "f"}
        made = [dtype for dtype in map(_made_dtype, self.nodes) if dtype.kind == "f"]
        first = next(iter([*real.values(), *made]), np.dtype(np.float32))
        for name, dtype in real.items():
            if dtype != first:
                raise OnnxError(f"{name!r}: expected {first} as all before it, got {dtype}")
        return first


def _check_text(where: str, *names: Any) -> None:
    """Raise OnnxError for a name that is no UTF-8, which protobuf gives as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise OnnxError(f"{where}: expected names in UTF-8, got {name!r}")


def _made_dtype(entry: dict[str, Any]) -> np.dtype[Any]:
    """Return the type of what a node makes out of nothing or another type; else of integers."""
    attributes = entry["attributes"]
    if entry["op"] == "Cast":
        to = attributes.get("to")
        return NUMPY_TYPES.get(to if isinstance(to, int) else 7, np.dtype(np.int64))
    value = attributes.get("value")
    return np.dtype(value["dtype"] if isinstance(value, dict) else np.int64)


def _opset(model: ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        raise OnnxError(f"opset_import: expected one version of ONNX's operators, got {versions}")
    if not OPSETS[0] <= versions[0] <= OPSETS[1]:
        raise OnnxError(f"opset_import: expected {OPSETS[0]} to {OPSETS[1]}, got {versions[0]}")
    return int(versions[0])


def _input(info: ValueInfoProto) -> dict[str, Any]:
    tensor = info.type.tensor_type
    _check_text("input", info.name, *(dim.dim_param for dim in tensor.shape.dim))
    dtype = NUMPY_TYPES.get(tensor.elem_type)
    if dtype is None or not info.type.HasField("tensor_type"):
        raise OnnxError(f"input {info.name!r}: expected numbers or booleans, got another type")
    dims: list[int | str] | None = None
    if tensor.HasField("shape"):
        dims = [dim.dim_param or int(dim.dim_value) for dim in tensor.shape.dim]
        if any(isinstance(dim, int) and dim < 0 for dim in dims):
            raise OnnxError(f"input {info.name!r}: expected no negative dimensions, got {dims}")
    return {"name": info.name, "dtype": dtype.name, "dims": dims}
