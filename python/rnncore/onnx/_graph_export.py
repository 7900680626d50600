"""A Graph as ONNX again: the nodes that it came from, with the weights that it has now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from rnncore._types import Array
from rnncore.onnx._builder import onnx_type
from rnncore.onnx._graph import Graph
from rnncore.onnx._plan import unpacked
from rnncore.onnx._recurrent_export import node_arrays
from rnncore.onnx._recurrent_nodes import B, P, R, W

_PLACES = {"W": W, "R": R, "B": B, "P": P}


def graph_proto(graph: Graph) -> GraphProto:
    """Return the graph with its nodes, constants and weights."""
    description = graph.description
    stored: dict[str, Array] = {name: graph.parameters[name] for name in description["weights"]}
    stored |= {name: unpacked(name, plain) for name, plain in description["constants"].items()}
    for name, layer in graph.children.items():
        stored |= {f"{name}.{key}": array for key, array in _layer_arrays(layer).items()}
    return helper.make_graph(
        [_node(entry, stored) for entry in description["nodes"]],
        "Graph",
        [_value_info(entry) for entry in description["inputs"]],
        [helper.make_empty_tensor_value_info(name) for name in description["outputs"]],
        [_tensor(name, array) for name, array in stored.items()],
    )


def _layer_arrays(layer: Any) -> dict[str, Array]:
    """Return W, R, B and P of all directions."""
    each = [node_arrays(layer, d) for d in range(layer.spec.directions)]
    return {key: np.stack([arrays[key] for arrays in each]) for key in each[0]}


def _node(entry: Mapping[str, Any], stored: Mapping[str, Array]) -> NodeProto:
    inputs, layer = list(entry["inputs"]), entry.get("layer")
    if layer is not None:
        for key, place in _PLACES.items():
            if f"{layer}.{key}" in stored:
                inputs += [""] * (place + 1 - len(inputs))
                inputs[place] = f"{layer}.{key}"
    attributes = {
        name: _tensor("", unpacked(name, value)) if isinstance(value, Mapping) else value
        for name, value in entry["attributes"].items()
    }
    return helper.make_node(entry["op"], inputs, entry["outputs"], name=entry["name"], **attributes)


def _tensor(name: str, array: Array) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _value_info(entry: Mapping[str, Any]) -> Any:
    dims = entry["dims"]
    open_dims = None if dims is None else [None if dim == 0 else dim for dim in dims]
    return helper.make_tensor_value_info(entry["name"], onnx_type(entry["dtype"]), open_dims)
