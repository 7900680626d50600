"""One time step of a cell in ONNX's elementary operators, for the body of a Scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnncore._native.cells import GateFunction
from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._gates import ACTIVATIONS, numbers_of
from rnncore.onnx._recurrent_export import node_kind

Values = Mapping[str, str]  # what the parameters are called in the graph, the weights transposed
Functions = Sequence[GateFunction]  # of the cell, in ONNX's order


def add_activation(body: GraphBuilder, function: GateFunction, value: str) -> str:
    """Add a function of each number."""
    kind, numbers = ACTIVATIONS[function.name], numbers_of(function)
    if kind == "Affine":
        scaled = body.op("Mul", value, body.real(numbers[0]))
        return str(body.op("Add", scaled, body.real(numbers[1])))
    if kind == "ScaledTanh":
        inner = body.op("Tanh", body.op("Mul", value, body.real(numbers[1])))
        return str(body.op("Mul", inner, body.real(numbers[0])))
    attributes: dict[str, Any] = dict(zip(("alpha", "beta"), numbers, strict=False))
    return str(body.op(kind, value, **attributes))


def add_step(
    body: GraphBuilder, stack: Any, acts: Functions, own: Values, zx: str, zh: str, h: str,
    c: str | None,
) -> tuple[str, str | None]:  # fmt: skip
    """Add a step from the input's and the recurrent part of z to h and c."""
    kind, letters = node_kind(stack), stack.spec.cell.gate_letters
    if kind == "RNN":
        z = _bounded(body, stack, body.op("Add", zx, zh))
        return add_activation(body, acts[0], z), None
    if kind == "GRU":
        return _gru(body, stack, acts, zx, zh, h), None
    assert c is not None
    z = body.op("Add", zx, zh)
    gates = dict(zip(letters, _split(body, stack, z), strict=True))
    return _lstm(body, stack, acts, gates, own, c)


def add_reset_before(
    body: GraphBuilder, stack: Any, acts: Functions, own: Values, zx: str, rest: str | None, h: str
) -> str:
    """Add a step of a GRU whose reset gate stands in front of the product; z = zx + rest + R h."""
    H = stack.hidden_size
    z = zx if rest is None else body.op("Add", zx, rest)
    gates, n = body.op("Split", z, body.numbers(2 * H, H), outputs=2, axis=-1)
    gates = body.op("Add", gates, body.op("MatMul", h, own["weight_hh_gates"]))
    gates = add_activation(body, acts[0], _bounded(body, stack, gates))
    r, z = body.op("Split", gates, body.numbers(H, H), outputs=2, axis=-1)
    part = body.op("MatMul", body.op("Mul", r, h), own["weight_hh_n"])
    n = add_activation(body, acts[1], _bounded(body, stack, body.op("Add", n, part)))
    return _mixed(body, n, z, h)


def _bounded(body: GraphBuilder, stack: Any, z: str) -> str:
    """Return z within the layer's clip."""
    if stack.clip is None:
        return z
    return str(body.op("Clip", z, body.real(-stack.clip), body.real(stack.clip)))


def _split(body: GraphBuilder, stack: Any, z: str) -> list[str]:
    """Return a value for each gate."""
    count = len(stack.spec.cell.gate_letters)
    sizes = body.numbers(*[stack.hidden_size] * count)
    return list(body.op("Split", z, sizes, outputs=count, axis=-1))


def _mixed(body: GraphBuilder, n: str, z: str, h: str) -> str:
    """Return (1 - z) n + z h."""
    return str(body.op("Add", n, body.op("Mul", z, body.op("Sub", h, n))))


def _gru(body: GraphBuilder, stack: Any, acts: Functions, zx: str, zh: str, h: str) -> str:
    (xr, xz, xn), (hr, hz, hn) = _split(body, stack, zx), _split(body, stack, zh)
    r = add_activation(body, acts[0], _bounded(body, stack, body.op("Add", xr, hr)))
    z = add_activation(body, acts[0], _bounded(body, stack, body.op("Add", xz, hz)))
    n = _bounded(body, stack, body.op("Add", xn, body.op("Mul", r, hn)))
    return _mixed(body, add_activation(body, acts[1], n), z, h)


def _lstm(
    body: GraphBuilder, stack: Any, acts: Functions, gates: Values, own: Values, c: str
) -> tuple[str, str]:
    def gate(letter: str, state: str) -> str:
        z, peephole = gates[letter], own.get(f"peephole_{letter}")
        if peephole is not None:
            z = body.op("Add", z, body.op("Mul", peephole, state))
        return add_activation(body, acts[0], _bounded(body, stack, z))

    i = gate("i", c)
    f = gate("f", c) if "f" in gates else body.op("Sub", body.real(1.0), i)
    g = add_activation(body, acts[1], _bounded(body, stack, gates["g"]))
    new = body.op("Add", body.op("Mul", f, c), body.op("Mul", i, g))
    h = body.op("Mul", gate("o", new), add_activation(body, acts[2], new))
    return h, new
