"""The operators rnncore::recurrent and its backward: for tracing, transforms and export.

`tape` is empty without `keep_tape`; backward then runs forward again to have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnncore.torch.operators_composite import composite_backward
from rnncore.torch.operators_eager import Bound, forward_arrays
from rnncore.torch.operators_kernels import (
    Config,
    Inputs,
    most_tape_size,
    spec_for,
    tape_shapes,
    with_own_gates,
)

_OPTIONS = "str cell, int num_layers, int directions, int proj_size, bool batch_first"
_INPUTS = "Tensor[] weights, Tensor? lengths, Tensor? resets, Tensor[] masks"
torch.library.define(
    "rnncore::recurrent",
    f"(Tensor x, Tensor h_0, Tensor? c_0, {_INPUTS}, {_OPTIONS}, bool keep_tape)"
    " -> (Tensor y, Tensor[] state, Tensor[] tape)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "rnncore::recurrent_backward",
    f"(Tensor? dy, Tensor? dh_n, Tensor? dc_n, Tensor x, Tensor h_0, Tensor? c_0, {_INPUTS},"
    f" Tensor[] tape, {_OPTIONS}) -> (Tensor dx, Tensor[] dstate, Tensor[] grads)",
    tags=torch.Tag.pt2_compliant_tag,
)

_Result = tuple[Tensor, list[Tensor], list[Tensor]]


def recurrent(
    config: Config, weights: Sequence[Tensor], inputs: Inputs, *, keep_tape: bool
) -> tuple[Tensor, ...]:
    """Call the operator; return y, h_n and, of a cell with c, c_n. The initial state is given."""
    x, h_0, c_0, lengths, resets, masks = inputs
    y, state, _ = torch.ops.rnncore.recurrent.default(
        x, h_0, c_0, weights, lengths, resets, masks, *config, keep_tape
    )
    return (y, *state)


@torch.library.impl("rnncore::recurrent", "CPU")
def _forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: list[Tensor],
    *options: Any,
) -> _Result:
    *about, keep_tape = options
    inputs = Inputs(x, h_0, c_0, lengths, resets, masks)
    return forward_arrays(Config(*about), weights, inputs, keep_tape=keep_tape)


@torch.library.impl("rnncore::recurrent_backward", "CPU")
def _backward(
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: list[Tensor],
    tape: list[Tensor],
    *options: Any,
) -> _Result:
    bound, inputs = Bound(Config(*options), weights), Inputs(x, h_0, c_0, lengths, resets, masks)
    if tape:  # an operator leaves its inputs alone
        own = with_own_gates(bound.tape_of(tape, inputs))
    else:
        *_, own = bound.forward(bound.read(inputs))
    dx, dstate, grads = bound.run_backward(own, (dy, dh_n, dc_n))
    assert dx is not None
    return dx, dstate, grads


@torch.library.register_fake("rnncore::recurrent")  # type: ignore[untyped-decorator]
def _fake_forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: list[Tensor],
    *options: Any,
) -> _Result:
    *about, keep_tape = options
    config = Config(*about)
    spec = spec_for(config, weights)
    first, second, _ = x.shape
    T, B = (second, first) if config.batch_first else (first, second)
    y = x.new_empty((first, second, spec.features))
    state = [h_0.new_empty(h_0.shape)] + ([] if c_0 is None else [c_0.new_empty(c_0.shape)])
    if not keep_tape:
        return y, state, []
    rows, pieces = most_tape_size(T, B, resets)
    shapes = tape_shapes(spec, T, B, rows, pieces)
    return y, state, [x.new_empty(_as_laid_out(config, shape)) for shape in shapes]


def _as_laid_out(config: Config, shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the shape of a tape's array; what has three dimensions is a sequence."""
    if len(shape) == 3 and config.batch_first:
        return shape[1], shape[0], shape[2]
    return shape


@torch.library.register_fake("rnncore::recurrent_backward")  # type: ignore[untyped-decorator]
def _fake_backward(
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weights: list[Tensor],
    *_: Any,
) -> _Result:
    dstate = [h_0.new_empty(h_0.shape)] + ([] if c_0 is None else [c_0.new_empty(c_0.shape)])
    return x.new_empty(x.shape), dstate, [weight.new_empty(weight.shape) for weight in weights]


def _save(ctx: Any, inputs: tuple[Any, ...], output: _Result) -> None:
    x, h_0, c_0, weights, lengths, resets, masks, *about, _ = inputs
    tape = output[2]
    ctx.config, ctx.sizes = Config(*about), (len(weights), len(masks), len(tape))
    ctx.save_for_backward(x, h_0, c_0, lengths, resets, *weights, *masks, *tape)


def _differentiate(
    ctx: Any, dy: Tensor | None, dstate: Sequence[Tensor | None], _: Any
) -> tuple[Any, ...]:
    x, h_0, c_0, lengths, resets, *rest = ctx.saved_tensors
    n, m, _ = ctx.sizes
    weights, masks, tape = rest[:n], rest[n : n + m], rest[n + m :]
    options = (None,) * (len(ctx.config) + 1)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        inputs = Inputs(x, h_0, c_0, lengths, resets, masks)
        dx, dh_0, dc_0, *grads = composite_backward(ctx.config, weights, inputs, (dy, *dstate))
    else:
        dh_n, dc_n = dstate[0], dstate[1] if len(dstate) > 1 else None
        dx, (dh_0, *more), grads = torch.ops.rnncore.recurrent_backward.default(
            dy, dh_n, dc_n, x, h_0, c_0, weights, lengths, resets, masks, tape, *ctx.config
        )
        dc_0 = more[0] if more else None
    return dx, dh_0, dc_0, grads, None, None, [None] * m, *options


torch.library.register_autograd("rnncore::recurrent", _differentiate, setup_context=_save)


def _loop_over(operator: Any) -> Any:
    """Return a rule for vmap that runs the operator once for each slice."""

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        results = [
            operator(*(_slice(a, d, i) for a, d in zip(arguments, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        stacked = tuple(
            torch.stack(parts)
            if isinstance(parts[0], Tensor)
            else [torch.stack(own) for own in zip(*parts, strict=True)]
            for parts in zip(*results, strict=True)
        )
        dims = tuple(0 if isinstance(part, Tensor) else [0] * len(part) for part in stacked)
        return stacked, dims

    return rule


def _slice(argument: Any, dim: Any, i: int) -> Any:
    """Return the i-th slice of a tensor, of each tensor of a list, or what is none as it is."""
    if isinstance(argument, (list, tuple)):
        dims = dim if isinstance(dim, (list, tuple)) else [dim] * len(argument)
        return [_slice(a, d, i) for a, d in zip(argument, dims, strict=True)]
    return argument if dim is None else argument.select(dim, i)


for _name in ("recurrent", "recurrent_backward"):
    _operator = getattr(torch.ops.rnncore, _name).default
    torch.library.register_vmap(f"rnncore::{_name}", _loop_over(_operator))
