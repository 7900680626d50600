"""The stack as one node of autograd's graph, straight from Python: what eager calls take.

An operator of torch.library costs tens of microseconds a call in Python. This way does the same
without them; `operators` is for whoever traces, transforms or watches operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnncore._types import Array
from rnncore.layers._call import NO_GRADIENT, Call
from rnncore.layers._spec import StackSpec
from rnncore.state import StackState
from rnncore.torch.operators_composite import composite_backward
from rnncore.torch.operators_kernels import (
    Config,
    arrays_of,
    contiguous_view,
    engine_of,
    gates_in,
    make_call,
    most_tape_size,
    spec_for,
    tape_arrays,
    tape_of,
    tape_shapes,
    time_major,
    view,
)


class Bound:
    """A stack bound to the memory of its weights: their views, and the engine on them.

    Nothing in it is copied: weights that change in place count from the next call on.
    """

    __slots__ = ("arrays", "config", "engine", "pointers", "spec", "weights")

    def __init__(self, config: Config, weights: Sequence[Tensor]) -> None:
        self.config, self.weights = config, list(weights)
        self.pointers = [weight.data_ptr() for weight in weights]
        self.spec = spec_for(config, weights)
        self.arrays = arrays_of(self.spec, [contiguous_view(weight) for weight in weights])
        self.engine = engine_of(self.spec, self.arrays)

    def fits(self, config: Config, weights: Sequence[Tensor]) -> bool:
        """Whether it is bound to these weights, where they are in memory now."""
        own, pointers = self.weights, self.pointers
        if config != self.config or len(weights) != len(own):
            return False
        for i, weight in enumerate(weights):
            if weight is not own[i] or weight.data_ptr() != pointers[i]:
                return False
        return True

    @property
    def lasting(self) -> bool:
        """Whether it may serve again: no weight had to be copied."""
        return all(weight.is_contiguous() and not weight.is_neg() for weight in self.weights)


def read_call(
    bound: Bound,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: Sequence[Tensor],
) -> Call:
    """Return the call of tensors that fit; a state of None is zeros."""
    config, spec, array = bound.config, bound.spec, view(x)
    B = array.shape[0 if config.batch_first else 1]
    state = StackState(
        _state(h_0, (spec.depth, B, spec.width), spec),
        _state(c_0, (spec.depth, B, spec.hidden_size), spec) if spec.cell.has_c else None,
        None,
    )
    return make_call(config, array, state, *_options(lengths, resets, masks))


def _options(
    lengths: Tensor | None, resets: Tensor | None, masks: Sequence[Tensor]
) -> tuple[Array | None, Array | None, list[Array]]:
    return (
        None if lengths is None else contiguous_view(lengths),
        None if resets is None else resets.numpy(),
        [mask.numpy() for mask in masks],
    )


def _state(state: Tensor | None, shape: tuple[int, ...], spec: StackSpec) -> Array:
    return np.zeros(shape, spec.dtype) if state is None else contiguous_view(state)


def infer(bound: Bound, call: Call) -> tuple[Tensor, ...]:
    """Return y, h_n and, of a cell with c, c_n."""
    y, last = bound.engine.infer(call)
    return _outputs(bound.config, y, last)


def _outputs(config: Config, y: Array, last: StackState) -> tuple[Tensor, ...]:
    h, c, _ = last
    arrays = (time_major(config, y), h) if c is None else (time_major(config, y), h, c)
    return tuple(map(torch.from_numpy, arrays))


class RecurrentFunction(torch.autograd.Function):
    """Forward and backward of a stack; gradients of gradients by torch's own operations."""

    @staticmethod
    def forward(
        ctx: Any,
        bound: Bound,
        lengths: Tensor | None,
        resets: Tensor | None,
        masks: Sequence[Tensor],
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return y, h_n and, of a cell with c, c_n."""
        call = read_call(bound, x, h_0, c_0, lengths, resets, masks)
        y, last, tape = bound.engine.forward(call)
        kept = [torch.from_numpy(array) for array in tape_arrays(bound.config, tape)]
        ctx.set_materialize_grads(False)
        ctx.config, ctx.spec, ctx.tape = bound.config, bound.spec, len(kept)
        ctx.masks = len(masks)
        ctx.save_for_backward(*kept, *masks, lengths, resets, x, h_0, c_0, *weights)
        return _outputs(bound.config, y, last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        """Return the gradients of x, h_0, c_0 and the weights."""
        saved, config = ctx.saved_tensors, ctx.config
        tape, rest = list(saved[: ctx.tape]), saved[ctx.tape :]
        masks, (lengths, resets, *inputs) = rest[: ctx.masks], rest[ctx.masks :]
        if torch.is_grad_enabled():
            return (None,) * 4 + _twice_differentiable(
                config, ctx.spec, inputs, lengths, resets, masks, gradients
            )
        if torch._C._autograd._get_current_graph_task_keep_graph():
            for place in gates_in(ctx.spec):
                tape[place] = tape[place].clone()
        x, h_0, c_0, *weights = inputs
        dx, dstate, grads = run_backward(
            config, x, weights, lengths, resets, masks, tape, gradients,
            input_gradient=ctx.needs_input_grad[4],
        )  # fmt: skip
        dh_0, dc_0 = dstate[0], dstate[1] if len(dstate) > 1 else None
        return (
            None, None, None, None, dx, None if h_0 is None else dh_0,
            None if c_0 is None else dc_0, *grads,
        )  # fmt: skip


def _twice_differentiable(
    config: Config,
    spec: StackSpec,
    inputs: Sequence[Any],
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
) -> tuple[Any, ...]:
    x, h_0, c_0, *weights = inputs
    B = x.shape[0 if config.batch_first else 1]
    first, second = h_0, c_0
    if first is None:
        first = x.new_zeros((spec.depth, B, spec.width))
    if second is None and spec.cell.has_c:
        second = x.new_zeros((spec.depth, B, spec.hidden_size))
    return tuple(
        composite_backward(config, (x, first, second), weights, lengths, resets, masks, gradients)
    )


def run_backward(
    config: Config,
    x: Tensor,
    weights: Sequence[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: Sequence[Tensor],
    tape: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    *,
    input_gradient: bool = True,
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Return the gradients of x, the initial state and the weights; uses the tape's gates up."""
    spec = spec_for(config, weights)
    parameters = arrays_of(spec, [contiguous_view(weight) for weight in weights])
    grads = [torch.zeros(weight.shape, dtype=weight.dtype) for weight in weights]
    engine = engine_of(spec, parameters, arrays_of(spec, [grad.numpy() for grad in grads]))
    call = make_call(config, view(x), NO_GRADIENT, *_options(lengths, resets, masks))
    kept = tape_of(config, spec, parameters, call, [part.numpy() for part in tape])
    dx = torch.empty(x.shape, dtype=x.dtype) if input_gradient else None
    dy, *dlast = [None if gradient is None else contiguous_view(gradient) for gradient in gradients]
    dh_n, dc_n = dlast[0], dlast[1] if len(dlast) > 1 else None
    first = engine.backward(
        kept,
        None if dy is None else time_major(config, dy),
        StackState(dh_n, dc_n, None),
        None if dx is None else time_major(config, dx.numpy()),
    )
    dstate = [torch.from_numpy(part) for part in (first.h, first.c) if part is not None]
    return dx, dstate, grads


def forward_arrays(
    config: Config,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: Sequence[Tensor],
    *,
    keep_tape: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return y, the final state and the tape, whose sizes follow from those of x alone.

    What lengths and resets leave of such a tape is zeros.
    """
    bound = Bound(config, weights)
    call = read_call(bound, x, h_0, c_0, lengths, resets, masks)
    if not keep_tape:
        y, *state = infer(bound, call)
        return y, state, []
    values, last, tape = bound.engine.forward(call)
    kept = [torch.from_numpy(array) for array in tape_arrays(config, tape)]
    if lengths is not None or resets is not None:
        T, B, _ = call.x.shape
        shapes = tape_shapes(bound.spec, T, B, *most_tape_size(T, B, resets))
        kept = [_padded(part, shape) for part, shape in zip(kept, shapes, strict=True)]
    y, *state = _outputs(config, values, last)
    return y, state, kept


def _padded(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    if part.dim() == 3:  # a sequence, which has its size already
        return part
    result = part.new_zeros(shape)
    result[: len(part)] = part
    return result
