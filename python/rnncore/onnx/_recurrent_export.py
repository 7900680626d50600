"""A stack of recurrent layers as ONNX's nodes: one RNN, GRU or LSTM for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnncore._native.cells import Cell, GateFunction
from rnncore._types import Array
from rnncore.layers import GRU, LSTM, GRUCell, LSTMCell
from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._gates import ORDERS, PEEPHOLES, USUAL, activation_attributes, reordered


class Inside(NamedTuple):
    """What a stack reads, as names of values: x is (T, B, I); what is None is not there."""

    x: str
    lengths: str | None  # int64 (B,)
    h: str | None  # (K, B, H)
    c: str | None
    outputs: str | None = None  # (B, M, O), fed back before the first step


class Outside(NamedTuple):
    """What a stack gives, as names of values: y is (T, B, features)."""

    y: str
    h: str
    c: str | None
    outputs: str | None = None
    ends: str | None = None  # (D, B, H): the final h of the last layer


def node_kind(stack: Any) -> str:
    """Return ONNX's name of a layer or cell: RNN, GRU or LSTM."""
    if isinstance(stack, (LSTM, LSTMCell)):
        return "LSTM"
    return "GRU" if isinstance(stack, (GRU, GRUCell)) else "RNN"


def functions_of(cell: Cell) -> tuple[GateFunction, ...]:
    """Return the functions of a cell, that of one direction."""
    return cell.functions if cell.chosen is None else cell.chosen


def node_attributes(stack: Any) -> dict[str, Any]:
    """Return the attributes that all layers of a stack have."""
    kind, spec = node_kind(stack), stack.spec
    functions = [each for cell in spec.cells for each in functions_of(cell)]
    attributes: dict[str, Any] = {"hidden_size": spec.hidden_size}
    if tuple(each.name for each in functions) != USUAL[kind] * spec.directions:
        attributes |= activation_attributes(functions)
    if spec.directions == 2:
        attributes["direction"] = "bidirectional"
    if stack.clip is not None:
        attributes["clip"] = float(stack.clip)
    if kind == "LSTM" and stack.coupled_gates:
        attributes["input_forget"] = 1
    if kind == "GRU":
        attributes["linear_before_reset"] = int(getattr(stack, "reset_after", True))
    return attributes


def node_arrays(stack: Any, k: int) -> dict[str, Array]:
    """Return W, R, B and P of one layer and direction, the k-th, in ONNX's order."""
    spec, order = stack.spec, ORDERS[node_kind(stack)]
    letters = spec.cell.gate_letters if len(order) > 1 else order
    own: Mapping[str, Array] = {
        short: stack.parameters[name] for short, name in spec.layer_names[k].items()
    }
    arrays = {
        "W": reordered(own["weight_ih"], letters, order),
        "R": reordered(own["weight_hh"], letters, order),
    }
    if spec.bias:
        both = [reordered(own[name], letters, order) for name in ("bias_ih", "bias_hh")]
        arrays["B"] = np.concatenate(both)
    if "peephole" in own:
        rows = spec.cell.unit_parameters["peephole"]
        arrays["P"] = reordered(own["peephole"], rows, PEEPHOLES).reshape(-1)
    return arrays


def split_first(build: GraphBuilder, value: str | None, parts: int, size: int) -> list[str | None]:
    """Return a value's parts of `size` along its first axis; of no value, none."""
    if value is None or parts == 1:
        return [value] * parts
    return list(build.op("Split", value, build.numbers(*[size] * parts), outputs=parts, axis=0))


def join_first(build: GraphBuilder, values: list[str]) -> str:
    """Return values one behind the other along the first axis."""
    joined: str = values[0] if len(values) == 1 else build.op("Concat", *values, axis=0)
    return joined


def add_layers(build: GraphBuilder, stack: Any, prefix: str, given: Inside) -> Outside:
    """Add a node for each layer of a stack without outputs of its own."""
    spec, kind = stack.spec, node_kind(stack)
    D, attributes = spec.directions, node_attributes(stack)
    lengths = None
    if given.lengths is not None:
        lengths = build.op("Cast", given.lengths, to=6)  # int32, as the nodes want them
    first_h = split_first(build, given.h, spec.num_layers, D)
    first_c = split_first(build, given.c, spec.num_layers, D)
    y, last_h, last_c = given.x, [], []
    for layer in range(spec.num_layers):
        both = [node_arrays(stack, layer * D + d) for d in range(D)]
        named = {
            key: build.weight(f"{prefix}{key}_l{layer}", np.stack([one[key] for one in both]))
            for key in both[0]
        }
        read = [y, named["W"], named["R"], named.get("B"), lengths, first_h[layer]]
        if kind == "LSTM":
            read += [first_c[layer], named.get("P")]
        made = build.op(
            kind, *read, outputs=3 if kind == "LSTM" else 2, name=f"{prefix}{kind}_l{layer}",
            **attributes,
        )  # fmt: skip
        y = _side_by_side(build, made[0], D, spec.hidden_size)
        last_h.append(_unless_empty(build, made[1], first_h[layer], given.lengths))
        if kind == "LSTM":
            last_c.append(_unless_empty(build, made[2], first_c[layer], given.lengths))
    c = join_first(build, last_c) if last_c else None
    return Outside(y, join_first(build, last_h), c, ends=last_h[-1])


def _side_by_side(build: GraphBuilder, y: str, D: int, H: int) -> str:
    """Return (T, D, B, H) as (T, B, D*H)."""
    if D == 1:
        return str(build.op("Squeeze", y, build.numbers(1)))
    transposed = build.op("Transpose", y, perm=[0, 2, 1, 3])
    return str(build.op("Reshape", transposed, build.numbers(0, 0, D * H)))


def _unless_empty(build: GraphBuilder, last: str, first: str | None, lengths: str | None) -> str:
    """Return a final state, which of no steps is the initial one: a runtime may say zeros."""
    if first is None or lengths is None:
        return last
    some = build.op("Greater", lengths, build.integer(0))
    return str(build.op("Where", build.op("Unsqueeze", some, build.numbers(0, 2)), last, first))
