"""A Sequential in ONNX's nodes, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore import Embedding, Linear, Sequential
from rnncore._native.cells import GateFunction
from rnncore.layers import Activation, Merging, Pooling, Recurrent, Reversal
from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._parts import (
    add_embedding,
    add_linear,
    add_pooling,
    add_recurrent,
    learned_state,
)
from rnncore.onnx._recurrent_export import Inside
from rnncore.onnx._scan_export import batch_of, step_mask
from rnncore.onnx._steps import add_activation


def add_sequential(build: GraphBuilder, chain: Sequential, lengths: bool) -> None:
    """Add a chain of layers, with its inputs and its output."""
    first = chain.layers[0]
    if isinstance(first, Embedding):
        x = build.input("x", np.int64, "batch", "time")
    else:
        x = build.input("x", build.dtype, "batch", "time", chain.input_size)
    ends = build.input("lengths", np.int64, "batch") if lengths else None
    if isinstance(first, Embedding):
        x = add_embedding(build, "0.", first, x)
    y = str(build.op("Transpose", x, perm=[1, 0, 2]))
    passing = _Chain(build, y, ends)
    for name, layer in chain.children.items():
        if not isinstance(layer, Embedding):
            passing.add(f"{name}.", layer)
    y = passing.y
    if chain.per_step:
        if passing.mask is not None:
            y = build.op("Where", passing.mask, y, build.real(0.0))
        y = build.op("Transpose", y, perm=[1, 0, 2])
        build.output("y", y, build.dtype, "batch", "time", chain.output_size)
    else:
        build.output("y", y, build.dtype, "batch", chain.output_size)


class _Chain:
    """What passes from layer to layer: y (T, B, F), or (B, F) behind a pooling."""

    def __init__(self, build: GraphBuilder, y: str, lengths: str | None) -> None:
        self.build, self.y, self.lengths = build, y, lengths
        self.mask = None if lengths is None else step_mask(build, y, lengths)
        self.ends: str | None = None  # the final state, right behind a recurrent layer

    def add(self, prefix: str, layer: Any) -> None:
        """Add a layer."""
        build, ends = self.build, None
        if isinstance(layer, Recurrent):
            h, c = learned_state(build, layer, prefix, self.y)
            made = add_recurrent(build, layer, prefix, Inside(self.y, self.lengths, h, c))
            self.y, ends = made.y, made.ends
        elif isinstance(layer, Linear):
            own = layer.parameters
            self.y = add_linear(build, prefix, self.y, own["weight"], own.get("bias"))
        elif isinstance(layer, Activation):
            self.y = self._activated(layer)
        elif isinstance(layer, Merging):
            self.y = self._merged(layer)
        elif isinstance(layer, Pooling):
            self.y = add_pooling(build, layer.kind, self.y, self.lengths, self.mask, self.ends)
        elif isinstance(layer, Reversal):
            self.y = self._reversed()
        else:
            raise TypeError(f"model: expected no {type(layer).__name__} in it, which ONNX lacks")
        self.ends = ends

    def _activated(self, layer: Activation) -> str:
        if layer.name == "identity":
            return self.y
        if layer.name == "softmax":
            return str(self.build.op("Softmax", self.y, axis=-1))
        numbers = [number for number in (layer.alpha, layer.beta) if number is not None]
        return add_activation(self.build, GateFunction(layer.name, *numbers), self.y)

    def _merged(self, layer: Merging) -> str:
        build = self.build
        if build.opset >= 18:
            both = build.op("Split", self.y, outputs=2, axis=-1, num_outputs=2)
        else:
            both = build.op("Split", self.y, outputs=2, axis=-1)
        y = build.op("Mul" if layer.mode == "product" else "Add", *both)
        return str(build.op("Mul", y, build.real(0.5)) if layer.mode == "mean" else y)

    def _reversed(self) -> str:
        build, lengths = self.build, self.lengths
        if lengths is None:
            steps = build.op("Shape", self.y, start=0, end=1)
            lengths = build.op("Expand", steps, batch_of(build, self.y))
        return str(build.op("ReverseSequence", self.y, lengths, batch_axis=1, time_axis=0))
