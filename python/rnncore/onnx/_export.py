"""export: a layer or model as an ONNX graph."""

from __future__ import annotations

from os import PathLike
from typing import Any

import onnx
from numpy.typing import DTypeLike
from onnx import GraphProto, ModelProto, helper

import rnncore
from rnncore._checks import boolean, check_dtype, expect_module, expect_none, integer
from rnncore._files import as_path, write_atomically
from rnncore.module import Module
from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._graph import Graph
from rnncore.onnx._graph_export import graph_proto
from rnncore.onnx._modules import add_module
from rnncore.onnx._plan import OPSETS

_LARGEST = (1 << 31) - 1  # bytes of a protobuf


def export(
    model: Module,
    path: str | PathLike[str] | None = None,
    *,
    opset: int | None = None,
    lengths: bool = False,
    state: bool = False,
    dtype: DTypeLike | None = None,
) -> ModelProto:
    """Return a layer or model as an ONNX graph, for ONNX Runtime and others; write it if asked.

    What is exported is what the model does in prediction: no dropout, outputs that feed back in
    closed loop. Batch size and steps may be any. A recurrent layer is one node RNN, GRU or LSTM;
    layers whose outputs feed back and those with a projection are a Scan.

    The graph's inputs are ``x`` (in the model's layout; int64 tokens for an embedding), with
    `lengths` ``lengths`` (B,), int64, and with `state` ``h_0`` (num_layers*D, B, H) and ``c_0`` of
    an LSTM, and ``y_0`` (B, M, O) where outputs feed back, M the longest delay. Its outputs are
    ``y``, and the final state ``h_n``, ``c_n`` and ``y_n`` of a layer, and of a model with
    `state`. A cell's inputs are ``x``, ``h_0`` and ``c_0``, all without the axis of layers.

    Parameters
    ----------
    model : Module
        RNN, LSTM, GRU, a cell, Linear, Embedding, ManyToOne, ManyToMany, LanguageModel, a
        Sequential without Masking, or a Graph that `load` returned.
    path : str or path-like, optional
        Where to write it: at any instant the old or the whole new file.
    opset : int, optional
        Version of ONNX's operators, 15 or later. None = 18; a Graph keeps its own.
    lengths : bool
        Whether the graph has the input ``lengths``.
    state : bool
        Whether the graph has inputs for the initial state.
    dtype : float32 or float64, optional
        Of the graph; None = the model's. ONNX Runtime 1.31 runs the nodes RNN, GRU and LSTM in
        float32 alone.

    Returns
    -------
    onnx.ModelProto
        Checked by onnx's own checker, with its shape inference.

    Raises
    ------
    TypeError
        If the model is of another class, such as an EncoderDecoder.
    ValueError
        If an option has nothing in ONNX (zoneout), or asks for an input that the model does not
        have; or the weights take more than the 2 GiB of a protobuf.
    OSError
        If the file can't be written.
    """
    expect_module("model", model, Module)
    real = check_dtype(model.dtype if dtype is None else dtype)
    size = model.num_parameters * real.itemsize
    if size > _LARGEST:
        raise ValueError(f"model: expected at most {_LARGEST} bytes of parameters, got {size}")
    lengths, state = boolean("lengths", lengths), boolean("state", state)
    if isinstance(model, Graph):
        expect_none(
            "for a Graph, which stays as it is", lengths=lengths or None, state=state or None
        )
        found = _graph_version(model, opset, real), graph_proto(model)
    else:
        newest = min(OPSETS[1], onnx.defs.onnx_opset_version())
        version = integer("opset", 18 if opset is None else opset, 15, newest)
        build = GraphBuilder(real, version)
        add_module(build, model, lengths=lengths, state=state)
        found = version, build.graph(type(model).__name__)
    result = _model(*found)
    result = onnx.shape_inference.infer_shapes(result) if isinstance(model, Graph) else result
    onnx.checker.check_model(result, full_check=True)
    if path is not None:
        write_atomically(as_path("path", path), result.SerializeToString())
    return result


def _graph_version(graph: Graph, opset: int | None, dtype: Any) -> int:
    """Return a Graph's opset; ValueError if another or another dtype was asked for."""
    own: int = graph.description["opset"]
    if opset not in (None, own):
        raise ValueError(f"opset: expected None or {own}, the Graph's own, got {opset}")
    if dtype != graph.dtype:
        raise ValueError(f"dtype: expected None or {graph.dtype}, the Graph's own, got {dtype}")
    return own


def _model(opset: int, graph: GraphProto) -> ModelProto:
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="rnncore",
        producer_version=rnncore.__version__,
    )
