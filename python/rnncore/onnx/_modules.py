"""What each module is in ONNX: its inputs, nodes and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore import Embedding, LanguageModel, Linear, ManyToMany, ManyToOne, Sequential
from rnncore._checks import expect_none
from rnncore.layers import Recurrent
from rnncore.layers._cell import RecurrentCell
from rnncore.models.sequence_model import SequenceModel
from rnncore.module import Module
from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._parts import (
    add_embedding,
    add_linear,
    add_pooling,
    add_recurrent,
    learned_state,
)
from rnncore.onnx._recurrent_export import Inside, Outside, add_layers
from rnncore.onnx._scan_export import step_mask
from rnncore.onnx._sequential_export import add_sequential

_KNOWN = (
    "an RNN, LSTM or GRU, a cell, Linear, Embedding, Sequential, ManyToOne, ManyToMany or "
    "LanguageModel"
)


def add_module(build: GraphBuilder, module: Module, *, lengths: bool, state: bool) -> None:
    """Add a module with its inputs and outputs."""
    if isinstance(module, (Recurrent, SequenceModel, LanguageModel)):
        _Sequences(build, module, lengths, state).add()
        return
    if isinstance(module, Sequential):
        _refuse(module, state=state)
        add_sequential(build, module, lengths)
        return
    _refuse(module, lengths=lengths, state=state and not isinstance(module, RecurrentCell))
    if isinstance(module, RecurrentCell):
        _add_cell(build, module)
    elif isinstance(module, Linear):
        x = build.input("x", build.dtype, "rows", module.input_size)
        y = add_linear(build, "", x, module.parameters["weight"], module.parameters.get("bias"))
        build.output("y", y, build.dtype, "rows", module.output_size)
    elif isinstance(module, Embedding):
        tokens = build.input("x", np.int64, "batch", "time")
        y = add_embedding(build, "", module, tokens)
        build.output("y", y, build.dtype, "batch", "time", module.embedding_dim)
    else:
        raise TypeError(f"model: expected {_KNOWN}, got {type(module).__name__}")


def _refuse(module: Module, **asked: bool) -> None:
    """Raise ValueError for an input that no sequence stands behind."""
    reason = f"for {type(module).__name__}, which has no such input"
    expect_none(reason, **{name: value or None for name, value in asked.items()})


def _add_cell(build: GraphBuilder, cell: RecurrentCell[Any]) -> None:
    """Add a cell: a layer of one step, whose state has no axis of layers."""
    H, first = cell.hidden_size, build.numbers(0)
    x = build.input("x", build.dtype, "batch", cell.input_size)
    names = ["h", "c"] if cell.cell.has_c else ["h"]
    given = [build.input(f"{name}_0", build.dtype, "batch", H) for name in names]
    ahead = [build.op("Unsqueeze", value, first) for value in (x, *given)]
    made = add_layers(build, cell, "", Inside(ahead[0], None, *[*ahead[1:], None][:2]))
    for name, value in zip(names, (made.h, made.c), strict=False):
        build.output(f"{name}_n", build.op("Squeeze", value, first), build.dtype, "batch", H)


class _Sequences:
    """A recurrent layer, alone or as the core of a model."""

    def __init__(self, build: GraphBuilder, module: Any, lengths: bool, state: bool) -> None:
        self.build, self.module = build, module
        self.core: Any = module if isinstance(module, Recurrent) else module.core
        self.prefix = "" if module is self.core else "core."
        self.embedding = getattr(module, "embedding", None)
        self.wants_lengths, self.wants_state = lengths, state

    def add(self) -> None:
        """Add inputs, nodes and outputs."""
        given = self._inputs()
        made = add_recurrent(self.build, self.core, self.prefix, given)
        if self.module is self.core:
            y, dims = made.y, self._dims()
            if self.core.batch_first:
                y = self.build.op("Transpose", y, perm=[1, 0, 2])
            self.build.output("y", y, self.build.dtype, *dims, self.core.output_features)
        else:
            self._model_output(given, made)
        if self.module is self.core or self.wants_state:
            self._final_state(made)

    def _dims(self) -> tuple[str, str]:
        return ("batch", "time") if self.core.batch_first else ("time", "batch")

    def _inputs(self) -> Inside:
        build, spec = self.build, self.core.spec
        if self.embedding is None:
            x = build.input("x", build.dtype, *self._dims(), spec.input_size)
        else:
            x = build.input("x", np.int64, *self._dims())
        lengths = build.input("lengths", np.int64, "batch") if self.wants_lengths else None
        h = c = outputs = None
        if self.wants_state:
            h = build.input("h_0", build.dtype, spec.depth, "batch", spec.width)
            if spec.cell.has_c:
                c = build.input("c_0", build.dtype, spec.depth, "batch", spec.hidden_size)
            if spec.feeds_back:
                sizes = spec.readout.longest_delay, spec.readout.size
                outputs = build.input("y_0", build.dtype, "batch", *sizes)
        if self.embedding is not None:
            x = add_embedding(build, "embedding.", self.embedding, x)
        if self.core.batch_first:
            x = build.op("Transpose", x, perm=[1, 0, 2])
        if spec.learn_initial_state and not self.wants_state:
            h, c = learned_state(build, self.core, self.prefix, x)
        return Inside(x, lengths, h, c, outputs)

    def _final_state(self, made: Outside) -> None:
        build, spec = self.build, self.core.spec
        build.output("h_n", made.h, build.dtype, spec.depth, "batch", spec.width)
        if made.c is not None:
            build.output("c_n", made.c, build.dtype, spec.depth, "batch", spec.hidden_size)
        if made.outputs is not None:
            sizes = spec.readout.longest_delay, spec.readout.size
            build.output("y_n", made.outputs, build.dtype, "batch", *sizes)

    def _model_output(self, given: Inside, made: Outside) -> None:
        """Add what stands behind the core: pooling, the head, zeros behind each end."""
        build, module = self.build, self.module
        mask = None if given.lengths is None else step_mask(build, given.x, given.lengths)
        if isinstance(module, ManyToOne):
            y = add_pooling(build, module.pooling, made.y, given.lengths, mask, made.ends)
            y = self._head(y)
            build.output("y", y, build.dtype, "batch", module.output_size)
            return
        size = module.output_size if isinstance(module, ManyToMany) else module.vocabulary_size
        y = self._head(made.y)
        if mask is not None:
            y = build.op("Where", mask, y, build.real(0.0))
        y = build.op("Transpose", y, perm=[1, 0, 2])
        build.output("y", y, build.dtype, "batch", "time", size)

    def _head(self, features: str) -> str:
        module = self.module
        if isinstance(module, LanguageModel):
            bias = module.parameters["head.bias"]
            if not module.tied:
                weight = module.parameters["head.weight"]
                return add_linear(self.build, "head.", features, weight, bias)
            tied = self.build.op("Transpose", "embedding.weight", perm=[1, 0])
            y = self.build.op("MatMul", features, tied)
            return str(self.build.op("Add", y, self.build.weight("head.bias", bias)))
        if module.head is None:
            return features
        own = module.head.parameters
        return add_linear(self.build, "head.", features, own["weight"], own.get("bias"))
