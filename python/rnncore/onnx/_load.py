"""load: an ONNX graph out of a file, bytes or a ModelProto."""

from __future__ import annotations

from os import PathLike
from typing import Any

from onnx import ModelProto

from rnncore.onnx._graph import Graph
from rnncore.onnx._recurrent_nodes import layer_parameters
from rnncore.onnx._source import OnnxError, read_model
from rnncore.onnx._translate import Translated


def load(
    source: str | PathLike[str] | bytes | ModelProto, *, loss: Any = "mean_squared_error"
) -> Graph:
    """Return an ONNX graph as a model that runs, trains and is saved like any other.

    A file that it was saved in is read by `rnncore.load`, once `rnncore.onnx` is imported.
    Nothing of the file is run or unpickled, and it takes time and memory in proportion to its size.

    Parameters
    ----------
    source : str, path-like, bytes or onnx.ModelProto
        The graph. Numbers in files of their own are read from the folder of the model's file.
    loss : str, Loss or callable
        What `Graph.fit` minimises.

    Returns
    -------
    Graph

    Raises
    ------
    OnnxError
        If the file is damaged or hostile, or has an operator, domain, opset or attribute that
        rnncore does not know; the message names the node and what it is.
    TypeError
        If `source` is something else.
    OSError
        If the file can't be read.
    """
    model, folder = read_model(source)
    found = Translated(model, folder)
    try:
        graph = Graph(found.description, loss=loss, dtype=found.dtype)
    except ValueError as error:
        raise OnnxError(str(error)) from None
    state = dict(found.weights)
    for name, arrays in found.layers.items():
        layer = graph.children[name]
        own = layer_parameters(layer, found.kind_of(name), arrays)
        state |= {f"{name}.{key}": array for key, array in own.items()}
    graph.load_state_dict(state)
    return graph
