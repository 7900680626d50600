"""export: a layer or model as an ONNX graph."""

from __future__ import annotations

import os
from os import PathLike

import onnx
from numpy.typing import DTypeLike
from onnx import ModelProto, helper

import rnncore
from rnncore._checks import boolean, integer
from rnncore._files import write_atomically
from rnncore.module import Module, check_dtype
from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._modules import add_module

_LARGEST = (1 << 31) - 1  # bytes of a protobuf


def export(
    model: Module,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = 18,
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
        RNN, LSTM, GRU, a cell, Linear, Embedding, ManyToOne, ManyToMany, LanguageModel, or a
        Sequential without Masking.
    path : str or path-like, optional
        Where to write it: at any instant the old or the whole new file.
    opset : int
        Version of ONNX's operators, 15 or later.
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
    opset = integer("opset", opset, 15, onnx.defs.onnx_opset_version())
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a layer or model, got {type(model).__name__}")
    build = GraphBuilder(check_dtype(model.dtype if dtype is None else dtype), opset)
    size = model.num_parameters * build.dtype.itemsize
    if size > _LARGEST:
        raise ValueError(f"model: expected at most {_LARGEST} bytes of parameters, got {size}")
    add_module(build, model, lengths=boolean("lengths", lengths), state=boolean("state", state))
    opsets = [helper.make_opsetid("", opset)]
    result = helper.make_model(
        build.graph(type(model).__name__),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="rnncore",
        producer_version=rnncore.__version__,
    )
    onnx.checker.check_model(result, full_check=True)
    if path is not None:
        write_atomically(os.fsdecode(path), result.SerializeToString())
    return result
