"""What models are made of, in ONNX's nodes; sequences are (T, B, F)."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore import Embedding
from rnncore.layers import Recurrent
from rnncore.onnx._builder import GraphBuilder, onnx_type
from rnncore.onnx._recurrent_export import Inside, Outside, add_layers
from rnncore.onnx._scan_export import add_scan, batch_of, step_mask


def add_linear(build: GraphBuilder, prefix: str, x: str, weight: Any, bias: Any) -> str:
    """Return x W^T + b of any rank."""
    y: str = build.op("MatMul", x, build.weight(f"{prefix}weight", weight.T))
    return y if bias is None else str(build.op("Add", y, build.weight(f"{prefix}bias", bias)))


def add_embedding(build: GraphBuilder, prefix: str, module: Embedding, tokens: str) -> str:
    """Return the table's rows for tokens."""
    weight = build.weight(f"{prefix}weight", module.parameters["weight"])
    return str(build.op("Gather", weight, tokens, axis=0))


def add_recurrent(build: GraphBuilder, core: Any, prefix: str, given: Inside) -> Outside:
    """Add a stack of recurrent layers."""
    _check_exportable(core)
    add = add_scan if core.spec.readout or core.spec.proj_size else add_layers
    return add(build, core, prefix, given)


def learned_state(
    build: GraphBuilder, core: Any, prefix: str, x: str
) -> tuple[str | None, str | None]:
    """Return the learned initial h and c of a batch (T, B, I), each (K, B, H), if there are any."""
    found: list[str | None] = []
    for name in ("initial_h", "initial_c"):
        array = core.parameters.get(name)
        if array is None:
            found.append(None)
            continue
        K, H = array.shape
        stored = build.weight(f"{prefix}{name}", array[:, None])
        shape = build.op("Concat", build.numbers(K), batch_of(build, x), build.numbers(H), axis=0)
        found.append(build.op("Expand", stored, shape))
    return found[0], found[1]


def add_pooling(
    build: GraphBuilder,
    kind: str,
    y: str,
    lengths: str | None,
    mask: str | None,
    ends: str | None,
) -> str:
    """Return one row (B, F) for each sequence of y.

    `mask` says which steps are valid; `ends` (D, B, F/D) are the final states, where a recurrent
    layer gave y.
    """
    if kind == "last":
        return _ends(build, ends) if ends is not None else _last(build, y, lengths)
    first = build.numbers(0)
    if kind == "mean":
        steps = build.op("Shape", y, start=0, end=1)
        if lengths is not None:
            y = build.op("Where", mask, y, build.real(0.0))
            steps = build.op("Unsqueeze", lengths, build.numbers(1))
        steps = build.op("Max", build.op("Cast", steps, to=onnx_type(build.dtype)), build.real(1.0))
        return str(build.op("Div", build.op("ReduceSum", y, first, keepdims=0), steps))
    if mask is not None:
        y = build.op("Where", mask, y, build.real(-np.inf))
    if build.opset >= 18:
        greatest = build.op("ReduceMax", y, first, keepdims=0)
    else:
        greatest = build.op("ReduceMax", y, axes=[0], keepdims=0)
    if lengths is None:
        return str(greatest)
    some = build.op("Unsqueeze", build.op("Greater", lengths, build.integer(0)), build.numbers(1))
    return str(build.op("Where", some, greatest, build.real(0.0)))


def _ends(build: GraphBuilder, ends: str) -> str:
    """Return (D, B, H) as (B, D*H)."""
    return str(build.op("Flatten", build.op("Transpose", ends, perm=[1, 0, 2])))


def _last(build: GraphBuilder, y: str, lengths: str | None) -> str:
    """Return y at each sequence's last step; zeros of an empty one."""
    if lengths is None:
        return str(build.op("Gather", y, build.integer(-1), axis=0))
    before = build.op("Sub", lengths, build.integer(1))
    valid, earlier = step_mask(build, y, lengths), step_mask(build, y, before)
    here = build.op("And", valid, build.op("Not", earlier))
    chosen = build.op("Where", here, y, build.real(0.0))
    return str(build.op("ReduceSum", chosen, build.numbers(0), keepdims=0))


def _check_exportable(core: Recurrent[Any]) -> None:
    """Raise ValueError for an option of a layer that ONNX's nodes do not have."""
    if np.any(np.asarray(core.zoneout) > 0):
        raise ValueError(f"zoneout: expected 0.0, since ONNX has none, got {core.zoneout}")
