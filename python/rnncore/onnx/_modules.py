"""What each module is in ONNX: its inputs, nodes and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore import Embedding, LanguageModel, Linear, ManyToMany, ManyToOne
from rnncore._checks import expect_none
from rnncore.layers import Recurrent
from rnncore.layers._cell import RecurrentCell
from rnncore.models.sequence_model import SequenceModel
from rnncore.module import Module
from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._recurrent_export import Inside, Outside, add_layers
from rnncore.onnx._scan_export import add_scan, batch_of, step_mask

_KNOWN = "an RNN, LSTM or GRU, a cell, Linear, Embedding, ManyToOne, ManyToMany or LanguageModel"


def add_module(build: GraphBuilder, module: Module, *, lengths: bool, state: bool) -> None:
    """Add a module with its inputs and outputs."""
    if isinstance(module, (Recurrent, SequenceModel, LanguageModel)):
        _Sequences(build, module, lengths, state).add()
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
        y = _embed(build, "", module, tokens)
        build.output("y", y, build.dtype, "batch", "time", module.embedding_dim)
    else:
        raise TypeError(f"model: expected {_KNOWN}, got {type(module).__name__}")


def _refuse(module: Module, **asked: bool) -> None:
    """Raise ValueError for an input that no sequence stands behind."""
    reason = f"for {type(module).__name__}, which has no such input"
    expect_none(reason, **{name: value or None for name, value in asked.items()})


def add_linear(build: GraphBuilder, prefix: str, x: str, weight: Any, bias: Any) -> str:
    """Return x W^T + b of any rank."""
    y: str = build.op("MatMul", x, build.weight(f"{prefix}weight", weight.T))
    return y if bias is None else str(build.op("Add", y, build.weight(f"{prefix}bias", bias)))


def _embed(build: GraphBuilder, prefix: str, module: Embedding, tokens: str) -> str:
    weight = build.weight(f"{prefix}weight", module.parameters["weight"])
    return str(build.op("Gather", weight, tokens, axis=0))


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
        check_exportable(self.core)

    def add(self) -> None:
        """Add inputs, nodes and outputs."""
        given = self._inputs()
        add = add_scan if self.core.spec.readout or self.core.spec.proj_size else add_layers
        made = add(self.build, self.core, self.prefix, given)
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
            x = _embed(build, "embedding.", self.embedding, x)
        if self.core.batch_first:
            x = build.op("Transpose", x, perm=[1, 0, 2])
        if spec.learn_initial_state and not self.wants_state:
            h, c = self._learned("initial_h", x), self._learned("initial_c", x)
        return Inside(x, lengths, h, c, outputs)

    def _learned(self, name: str, x: str) -> str | None:
        """Return the learned initial state of a batch, (K, B, H)."""
        array = self.core.parameters.get(name)
        if array is None:
            return None
        K, H = array.shape
        stored = self.build.weight(f"{self.prefix}{name}", array[:, None])
        sizes = [self.build.numbers(K), batch_of(self.build, x), self.build.numbers(H)]
        return str(self.build.op("Expand", stored, self.build.op("Concat", *sizes, axis=0)))

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
            y = self._head(self._pooled(given, made, mask))
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

    def _pooled(self, given: Inside, made: Outside, mask: str | None) -> str:
        """Return what the head of a ManyToOne reads, (B, D*H)."""
        build, pooling, spec = self.build, self.module.pooling, self.core.spec
        if pooling == "last":
            both = build.op("Transpose", made.ends, perm=[1, 0, 2])
            sizes = build.numbers(0, spec.directions * spec.width)
            return str(build.op("Reshape", both, sizes))
        first = build.numbers(0)
        if pooling == "mean":
            total = build.op("ReduceSum", made.y, first, keepdims=0)
            steps = build.op("Shape", made.y, start=0, end=1)
            if given.lengths is not None:
                steps = build.op("Unsqueeze", given.lengths, build.numbers(1))
            steps = build.op("Cast", steps, to=_type(build))
            return str(build.op("Div", total, build.op("Max", steps, build.real(1.0))))
        y = made.y
        if mask is not None:
            y = build.op("Where", mask, y, build.real(-np.inf))
        if build.opset >= 18:
            greatest = build.op("ReduceMax", y, first, keepdims=0)
        else:
            greatest = build.op("ReduceMax", y, axes=[0], keepdims=0)
        if given.lengths is None:
            return str(greatest)
        some = build.op("Greater", given.lengths, build.integer(0))
        some = build.op("Unsqueeze", some, build.numbers(1))
        return str(build.op("Where", some, greatest, build.real(0.0)))


def _type(build: GraphBuilder) -> int:
    return 11 if build.dtype == np.float64 else 1


def check_exportable(core: Recurrent[Any]) -> None:
    """Raise ValueError for an option of a layer that ONNX's nodes do not have."""
    if np.any(np.asarray(core.zoneout) > 0):
        raise ValueError(f"zoneout: expected 0.0, since ONNX has none, got {core.zoneout}")
    if core.spec.readout is not None and not getattr(core, "reset_after", True):
        raise ValueError("reset_after: expected True with output_size, got False")
