"""ONNX both ways: layers and models to ONNX graphs, and graphs to models that train."""

from __future__ import annotations

try:
    import onnx as _onnx
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise ImportError(
        "rnncore.onnx: expected the package onnx, which is not installed: "
        "pip install 'rnncore[onnx]'"
    ) from error

from rnncore.onnx._backend import Backend, Prepared, prepare
from rnncore.onnx._export import export
from rnncore.onnx._graph import Graph
from rnncore.onnx._load import load
from rnncore.onnx._source import OnnxError

__all__ = ["Backend", "Graph", "OnnxError", "Prepared", "export", "load", "prepare"]

del _onnx


def __dir__() -> list[str]:
    return __all__
