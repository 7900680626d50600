"""Layers whose outputs feed back, or with a projection, as ONNX's Scan over their steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore.onnx._builder import GraphBuilder
from rnncore.onnx._recurrent_export import (
    Inside,
    Outside,
    functions_of,
    join_first,
    split_first,
)
from rnncore.onnx._steps import add_reset_before, add_step


def add_scan(build: GraphBuilder, stack: Any, prefix: str, given: Inside) -> Outside:
    """Add a stack with outputs of its own or with projections."""
    if stack.spec.readout is None:
        return _add_projected(build, stack, prefix, given)
    return _add_closed_loop(build, stack, prefix, given)


def _add_projected(build: GraphBuilder, stack: Any, prefix: str, given: Inside) -> Outside:
    """Add a Scan for each layer and direction."""
    spec = stack.spec
    D = spec.directions
    first_h = split_first(build, given.h, spec.depth, 1)
    first_c = split_first(build, given.c, spec.depth, 1)
    y, last_h, last_c = given.x, [], []
    for layer in range(spec.num_layers):
        sides = []
        for k in range(layer * D, layer * D + D):
            loop = _Loop(build, stack, prefix, [k], given.lengths)
            h, c = _first(build, first_h[k]), _first(build, first_c[k])
            states, side = loop.run(y, [h], [c], None, reverse=k % D == 1)
            sides.append(side)
            last_h.append(build.op("Unsqueeze", states[0], build.numbers(0)))
            last_c.append(build.op("Unsqueeze", states[1], build.numbers(0)))
        y = sides[0] if D == 1 else build.op("Concat", *sides, axis=2)
    ends = join_first(build, last_h[-D:])
    return Outside(y, join_first(build, last_h), join_first(build, last_c), ends=ends)


def _add_closed_loop(build: GraphBuilder, stack: Any, prefix: str, given: Inside) -> Outside:
    """Add one Scan of all layers and the readout."""
    spec = stack.spec
    K = spec.num_layers
    loop = _Loop(build, stack, prefix, list(range(K)), given.lengths)
    first_h = [_first(build, one) for one in split_first(build, given.h, K, 1)]
    first_c = [_first(build, one) for one in split_first(build, given.c, K, 1)]
    states, y = loop.run(given.x, first_h, first_c, given.outputs)
    has_c = spec.cell.has_c
    width = 2 if has_c else 1
    ahead = [build.op("Unsqueeze", state, build.numbers(0)) for state in states[: K * width]]
    h, c = join_first(build, ahead[::width]), None
    if has_c:
        c = join_first(build, ahead[1::width])
    return Outside(y, h, c, states[-1] if spec.feeds_back else None, ends=ahead[(K - 1) * width])


def _first(build: GraphBuilder, state: str | None) -> str | None:
    """Return (1, B, H) as (B, H)."""
    return None if state is None else str(build.op("Squeeze", state, build.numbers(0)))


class _Loop:
    """A Scan over some layers of one direction, from input to output."""

    def __init__(
        self, build: GraphBuilder, stack: Any, prefix: str, which: list[int], lengths: str | None
    ) -> None:
        self.build, self.stack, self.lengths = build, stack, lengths
        self.resets_before = not getattr(stack, "reset_after", True)
        self.functions = functions_of(stack.spec.cell_of(which[0]))
        self.layers = [self._weights(stack.spec.layer_names[k], prefix) for k in which]
        self.readout: dict[str, str] = {}
        if stack.spec.readout is not None:
            self.readout = self._weights(stack.spec.readout_names, prefix)

    def _weights(self, names: dict[str, str], prefix: str) -> dict[str, str]:
        """Store parameters: weights transposed, a peephole row by row."""
        found = {}
        for short, name in names.items():
            array = self.stack.parameters[name]
            if short == "peephole":
                letters = self.stack.cell.unit_parameters["peephole"]
                for letter, row in zip(letters, array, strict=True):
                    found[f"{short}_{letter}"] = self.build.weight(f"{prefix}{name}_{letter}", row)
                continue
            if short == "weight_hh" and self.resets_before:
                gates, n = np.split(array, [2 * self.stack.hidden_size])
                found["weight_hh_gates"] = self.build.weight(f"{prefix}{name}_gates", gates.T)
                found["weight_hh_n"] = self.build.weight(f"{prefix}{name}_n", n.T)
                continue
            stored = array.T if array.ndim == 2 else array
            found[short] = self.build.weight(f"{prefix}{name}", stored)
        return found

    def run(
        self, x: str, h: list[str | None], c: list[str | None], outputs: str | None,
        *, reverse: bool = False,
    ) -> tuple[list[str], str]:  # fmt: skip
        """Add the Scan; return the final states, layer by layer, then what feeds back; and y."""
        build, spec = self.build, self.stack.spec
        body = build.subgraph()
        first, inner = self._states(body, x, h, c, outputs)
        zx = _affine(build, x, self.layers[0], "weight_ih", "bias_ih")
        scanned = [zx]
        inside = [body.input("zx", build.dtype, "batch", spec.cell.gates * spec.hidden_size)]
        if self.lengths is not None:
            scanned.append(step_mask(build, x, self.lengths))
            inside.append(body.input("valid", bool, "batch", 1))
        new, y = self._body(body, inside[0], inner)
        if self.lengths is not None:
            new = [body.op("Where", inside[1], a, b) for a, b in zip(new, inner, strict=True)]
            y = body.op("Where", inside[1], y, body.real(0.0))
        for name, value in zip(first, new, strict=True):
            body.output(f"{name}_new", value, build.dtype, None, None)
        body.output("y_t", y, build.dtype, None, None)
        back: dict[str, Any] = {
            "scan_input_directions": [1] * len(scanned),
            "scan_output_directions": [1],
        }
        made = build.op(
            "Scan", *first, *scanned, outputs=len(first) + 1, num_scan_inputs=len(scanned),
            body=body.graph(build.name("step")), **(back if reverse else {}),
        )  # fmt: skip
        states = list(made[:-1])
        return self._shaped(states), made[-1]

    def _shaped(self, states: list[str]) -> list[str]:
        """Return the states, what feeds back as (B, M, O) again."""
        if self.stack.spec.feeds_back:
            readout = self.stack.spec.readout
            sizes = self.build.numbers(0, readout.longest_delay, readout.size)
            states[-1] = self.build.op("Reshape", states[-1], sizes)
        return states

    def _states(
        self, body: GraphBuilder, x: str, h: list[str | None], c: list[str | None],
        outputs: str | None,
    ) -> tuple[list[str], list[str]]:  # fmt: skip
        """Return the initial states and, in the body, the inputs for them; all are (B, ...)."""
        build, spec = self.build, self.stack.spec
        wanted: list[tuple[str, str | None, int]] = []
        for number, (one_h, one_c) in enumerate(zip(h, c, strict=True)):
            wanted.append((f"h_{number}", one_h, spec.width))
            if spec.cell.has_c:
                wanted.append((f"c_{number}", one_c, spec.hidden_size))
        if spec.feeds_back:
            size = spec.readout.longest_delay * spec.readout.size
            fed = None
            if outputs is not None:
                fed = build.op("Reshape", outputs, build.numbers(0, size))
            wanted.append(("outputs", fed, size))
        first = [given or zeros(build, x, size) for _, given, size in wanted]
        inner = [body.input(name, build.dtype, "batch", size) for name, _, size in wanted]
        return first, inner

    def _body(self, body: GraphBuilder, zx: str, states: list[str]) -> tuple[list[str], str]:
        """Add one step of all layers; return the new states and y_t."""
        spec = self.stack.spec
        fed = self._fed(body, states[-1]) if spec.feeds_back else None
        width = 2 if spec.cell.has_c else 1
        new: list[str] = []
        y = ""
        for number, own in enumerate(self.layers):
            h = states[number * width]
            c = states[number * width + 1] if width == 2 else None
            if number > 0:
                zx = _affine(body, y, own, "weight_ih", "bias_ih")
            zh, next_c = self._recurrent(body, own, h, fed if number == 0 else None), None
            if self.resets_before:
                y = add_reset_before(body, self.stack, self.functions, own, zx, zh, h)
            else:
                zh = zh or body.op("Mul", zx, body.real(0.0))
                y, next_c = add_step(body, self.stack, self.functions, own, zx, zh, h, c)
            if "weight_hr" in own:
                y = body.op("MatMul", y, own["weight_hr"])
            new += [y] if next_c is None else [y, next_c]
        if spec.readout is not None:
            y = self._readout(body, y, fed)
        if spec.feeds_back:
            kept = states[-1]
            if spec.readout.longest_delay > 1:
                size = spec.readout.size
                ends = body.numbers(spec.readout.longest_delay * size)
                later = body.op("Slice", kept, body.numbers(size), ends, body.numbers(1))
                new.append(body.op("Concat", later, y, axis=1))
            else:
                new.append(y)
        return new, y

    def _recurrent(
        self, body: GraphBuilder, own: dict[str, str], h: str, fed: str | None
    ) -> str | None:
        """Return R h + U f + b_hh, of those that are there; R h not of a reset before it."""
        parts = []
        if "weight_hh" in own:
            parts.append(body.op("MatMul", h, own["weight_hh"]))
        if fed is not None and "weight_oh" in self.readout:
            parts.append(body.op("MatMul", fed, self.readout["weight_oh"]))
        if "bias_hh" in own:
            parts.append(own["bias_hh"])
        if not parts:
            return None
        total: str = parts[0]
        for part in parts[1:]:
            total = body.op("Add", total, part)
        return total

    def _fed(self, body: GraphBuilder, kept: str) -> str:
        """Return f_t (B, F) out of the outputs before, oldest first."""
        readout = self.stack.spec.readout
        O, M = readout.size, readout.longest_delay  # noqa: E741
        if M == 1:
            return kept
        parts = [
            body.op(
                "Slice", kept, body.numbers((M - d) * O), body.numbers((M - d + 1) * O),
                body.numbers(1),
            )
            for d in readout.delays
        ]  # fmt: skip
        return parts[0] if len(parts) == 1 else str(body.op("Concat", *parts, axis=1))

    def _readout(self, body: GraphBuilder, h: str, fed: str | None) -> str:
        y = _affine(body, h, self.readout, "weight_ho", "bias_o")
        if "weight_oo" in self.readout and fed is not None:
            y = body.op("Add", y, body.op("MatMul", fed, self.readout["weight_oo"]))
        phi = self.stack.output_activation
        if phi == "identity":
            return y
        if phi == "softmax":
            return str(body.op("Softmax", y, axis=-1))
        return str(body.op({"tanh": "Tanh", "sigmoid": "Sigmoid"}[phi], y))


def _affine(build: GraphBuilder, x: str, own: dict[str, str], weight: str, bias: str) -> str:
    """Return x W^T + b; own weights are transposed."""
    product: str = build.op("MatMul", x, own[weight])
    return str(build.op("Add", product, own[bias])) if bias in own else product


def batch_of(build: GraphBuilder, x: str, axis: int = 1) -> str:
    """Return the size of an axis of x as a vector of one number: B of (T, B, I)."""
    return str(build.op("Shape", x, start=axis, end=axis + 1))


def zeros(build: GraphBuilder, x: str, size: int) -> str:
    """Return zeros (B, size) for x (T, B, I)."""
    shape = build.op("Concat", batch_of(build, x), build.numbers(size), axis=0)
    return str(build.op("Expand", build.real(0.0), shape))


def step_mask(build: GraphBuilder, x: str, lengths: str) -> str:
    """Return which steps of x (T, B, I) are valid, bool (T, B, 1)."""
    steps = build.op("Squeeze", build.op("Shape", x, start=0, end=1), build.numbers(0))
    times = build.op("Range", build.integer(0), steps, build.integer(1))
    times = build.op("Unsqueeze", times, build.numbers(1, 2))
    ends = build.op("Unsqueeze", lengths, build.numbers(0, 2))
    return str(build.op("Less", times, ends))
