"""One time step of a cell in ONNX's elementary operators, for the body of a Scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._gates import ACTIVATIONS, with_numbers
from rnncore.onnx._recurrent_export import activations_of, node_kind

Values = Mapping[str, str]  # what the parameters are called in the graph, the weights transposed


def add_activation(body: GraphBuilder, activation: Any, value: str) -> str:
    """Add an activation: a name, or (name, alpha, beta)."""
    name, numbers = with_numbers(activation)
    kind = ACTIVATIONS[name][0]
    if kind == "Affine":
        scaled = body.op("Mul", value, body.real(numbers[0]))
        return str(body.op("Add", scaled, body.real(numbers[1])))
    if kind == "ScaledTanh":
        inner = body.op("Tanh", body.op("Mul", value, body.real(numbers[1])))
        return str(body.op("Mul", inner, body.real(numbers[0])))
    attributes: dict[str, Any] = dict(zip(("alpha", "beta"), numbers, strict=False))
    return str(body.op(kind, value, **attributes))


def add_step(
    body: GraphBuilder, stack: Any, own: Values, zx: str, zh: str, h: str, c: str | None
) -> tuple[str, str | None]:
    """Add a step from the input's and the recurrent part of z to h and c."""
    clip = getattr(stack, "clip", None)

    def bounded(z: str) -> str:
        if clip is None:
            return z
        return str(body.op("Clip", z, body.real(-float(clip)), body.real(float(clip))))

    kind, parts = node_kind(stack), len(stack.spec.cell.gate_letters)
    acts = activations_of(stack)
    if kind == "RNN":
        return add_activation(body, acts[0], bounded(body.op("Add", zx, zh))), None
    sizes = body.numbers(*[stack.hidden_size] * parts)
    if kind == "GRU":
        return _gru(body, acts, bounded, zx, zh, h, sizes), None
    assert c is not None
    z = body.op("Split", body.op("Add", zx, zh), sizes, outputs=parts, axis=-1)
    gates = dict(zip(stack.spec.cell.gate_letters, z, strict=True))
    return _lstm(body, acts, bounded, gates, own, c)


def _gru(body: GraphBuilder, acts: Any, bounded: Any, zx: str, zh: str, h: str, sizes: str) -> str:
    xr, xz, xn = body.op("Split", zx, sizes, outputs=3, axis=-1)
    hr, hz, hn = body.op("Split", zh, sizes, outputs=3, axis=-1)
    r = add_activation(body, acts[0], bounded(body.op("Add", xr, hr)))
    z = add_activation(body, acts[0], bounded(body.op("Add", xz, hz)))
    n = bounded(body.op("Add", xn, body.op("Mul", r, hn)))
    n = add_activation(body, acts[1], n)
    return str(body.op("Add", n, body.op("Mul", z, body.op("Sub", h, n))))


def _lstm(
    body: GraphBuilder, acts: Any, bounded: Any, gates: dict[str, str], own: Values, c: str
) -> tuple[str, str]:
    def gate(letter: str, state: str) -> str:
        z, peephole = gates[letter], own.get(f"peephole_{letter}")
        if peephole is not None:
            z = body.op("Add", z, body.op("Mul", peephole, state))
        return add_activation(body, acts[0], bounded(z))

    i = gate("i", c)
    f = gate("f", c) if "f" in gates else body.op("Sub", body.real(1.0), i)
    g = add_activation(body, acts[1], bounded(gates["g"]))
    new = body.op("Add", body.op("Mul", f, c), body.op("Mul", i, g))
    h = body.op("Mul", gate("o", new), add_activation(body, acts[2], new))
    return h, new
