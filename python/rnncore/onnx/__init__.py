"""ONNX both ways: layers and models to ONNX graphs, and graphs to models that train."""

from __future__ import annotations

try:
    import onnx as _onnx
except ImportError as error:
    raise ImportError(
        "rnncore.onnx: expected the package onnx, which is not installed: "
        "pip install 'rnncore[onnx]'"
    ) from error

from rnncore.onnx._export import export

__all__ = ["export"]

del _onnx
