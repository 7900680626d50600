"""The stack as one node of autograd's graph, straight from Python: what eager calls take.

An operator of torch.library costs tens of microseconds a call in Python. This way does the same
without them; `operators` is for whoever traces, transforms or watches operators.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnncore._memory import zeros
from rnncore._native.threads import at_most, get_num_threads
from rnncore._types import Array
from rnncore.layers._call import NO_GRADIENT, Call
from rnncore.layers._layer_by_layer import StackTape
from rnncore.layers._layout import new_sequences
from rnncore.state import StackState
from rnncore.torch.operators_composite import composite_backward
from rnncore.torch.operators_kernels import (
    Config,
    Inputs,
    arrays_of,
    contiguous_view,
    engine_of,
    make_call,
    most_tape_size,
    places_of,
    spec_for,
    tape_arrays,
    tape_of,
    tape_shapes,
    time_major,
    view,
    with_own_gates,
)


class Bound:
    """A stack bound to the memory of its weights: their views, and the engine on them.

    Nothing in it is copied: weights that change in place count from the next call on.
    """

    __slots__ = (
        "arrays", "config", "engine", "places", "pointers", "shapes", "spec", "weights",
    )  # fmt: skip

    def __init__(self, config: Config, weights: Sequence[Tensor]) -> None:
        self.config, self.weights = config, tuple(weights)
        self.pointers = [weight.data_ptr() for weight in weights]
        self.spec = spec_for(config, weights)
        self.places = places_of(self.spec)
        self.arrays = arrays_of(self.places, list(map(contiguous_view, weights)))
        self.shapes = [tuple(weight.shape) for weight in weights]
        self.engine = engine_of(self.spec, self.arrays)

    def fits(self, weights: Collection[Tensor | None]) -> bool:
        """Whether it is bound to these weights, where and as they lie in memory now."""
        if len(weights) != len(self.weights):
            return False
        for weight, own, pointer in zip(weights, self.weights, self.pointers, strict=True):
            if weight is not own or own.data_ptr() != pointer or not own.is_contiguous():
                return False
        return True

    @property
    def lasting(self) -> bool:
        """Whether it may serve again: no weight had to be copied."""
        return all(weight.is_contiguous() and not weight.is_neg() for weight in self.weights)

    def read(self, inputs: Inputs) -> Call:
        """Return the call of tensors that fit."""
        spec, array, (_, h_0, c_0, *_) = self.spec, view(inputs.x), inputs
        B, K = array.shape[0 if self.config.batch_first else 1], spec.depth
        h = np.zeros((K, B, spec.width), spec.dtype) if h_0 is None else contiguous_view(h_0)
        c = None
        if c_0 is not None:
            c = contiguous_view(c_0)
        elif spec.cell.has_c:
            c = np.zeros((K, B, spec.hidden_size), spec.dtype)
        return make_call(self.config, array, StackState(h, c, None), *_options(inputs))

    def infer(self, call: Call) -> tuple[Tensor, ...]:
        """Return y, h_n and, of a cell with c, c_n."""
        with torchs_threads():
            return self.outputs(*self.engine.infer(call))

    def forward(self, call: Call) -> tuple[Array, StackState, StackTape]:
        """Return y and the final state for `outputs`, and the tape."""
        with torchs_threads():
            return self.engine.forward(call)

    def outputs(self, y: Array, last: StackState) -> tuple[Tensor, ...]:
        """Return what the engine gave as tensors, y laid out as x."""
        tensor = torch.from_numpy(y.swapaxes(0, 1) if self.config.batch_first else y)
        h = torch.from_numpy(last.h)
        return (tensor, h) if last.c is None else (tensor, h, torch.from_numpy(last.c))

    def tape_of(self, kept: Sequence[Tensor], inputs: Inputs) -> StackTape:
        """Return the tape that `tape_tensors` made these tensors of."""
        call = make_call(self.config, view(inputs.x), NO_GRADIENT, *_options(inputs))
        arrays = [part.numpy() for part in kept]
        return tape_of(self.config, self.spec, self.arrays, call, arrays)

    def run_backward(
        self,
        tape: StackTape,
        gradients: Sequence[Tensor | None],
        *,
        input_gradient: bool = True,
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Return the gradients of x, the initial state and the weights; uses the tape's gates up.

        `gradients` are those of y and the final state; None counts as zeros.
        """
        config, spec, call = self.config, self.spec, tape.call
        grads = [zeros(shape, spec.dtype) for shape in self.shapes]
        engine = engine_of(spec, self.arrays, arrays_of(self.places, grads))
        dx = new_sequences(call.layout, call.x.shape, spec.dtype) if input_gradient else None
        dy, h, *c = [None if g is None else contiguous_view(g) for g in gradients]
        with torchs_threads():
            first = engine.backward(
                tape,
                None if dy is None else time_major(config, dy),
                StackState(h, c[0] if c else None, None),
                dx,
            )
        return (
            None if dx is None else torch.from_numpy(time_major(config, dx)),
            [torch.from_numpy(part) for part in (first.h, first.c) if part is not None],
            list(map(torch.from_numpy, grads)),
        )


_AS_SET = nullcontext()


def torchs_threads() -> AbstractContextManager[None]:
    """Let the kernels use no more threads than torch may."""
    threads = torch.get_num_threads()
    return _AS_SET if threads >= get_num_threads() else at_most(threads)


def _options(inputs: Inputs) -> tuple[Array | None, Array | None, Sequence[Array]]:
    _, _, _, lengths, resets, masks = inputs
    return (
        None if lengths is None else contiguous_view(lengths),
        None if resets is None else resets.numpy(),
        [mask.numpy() for mask in masks] if masks else (),
    )


class RecurrentFunction(torch.autograd.Function):
    """Forward and backward of a stack.

    Gradients of gradients, and many gradients at once, come by torch's own operations.
    """

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
        inputs = Inputs(x, h_0, c_0, lengths, resets, masks)
        y, last, tape = bound.forward(bound.read(inputs))
        kept: list[Tensor] = []
        if torch._C._autograd._top_saved_tensors_default_hooks(False) is not None:
            kept = tape_tensors(bound.config, tape)  # for the hooks: checkpointing, say
        ctx.set_materialize_grads(False)
        ctx.bound, ctx.tape, ctx.masks = bound, None if kept else tape, len(masks)
        ctx.save_for_backward(x, h_0, c_0, lengths, resets, *weights, *masks, *kept)
        return bound.outputs(y, last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        """Return the gradients of x, h_0, c_0 and the weights."""
        bound, tape = ctx.bound, ctx.tape
        x, h_0, c_0, lengths, resets, *rest = ctx.saved_tensors
        n, m = len(bound.weights), len(bound.weights) + ctx.masks
        weights, masks, kept = rest[:n], rest[n:m], rest[m:]
        inputs = Inputs(x, h_0, c_0, lengths, resets, masks)
        if torch.is_grad_enabled() or any(map(_is_batched, gradients)):
            given = with_states(bound.config, weights, inputs)
            return (
                None,
                None,
                None,
                None,
                *composite_backward(bound.config, weights, given, gradients),
            )
        if kept:
            tape = bound.tape_of(kept, inputs)
        if torch._C._autograd._get_current_graph_task_keep_graph():
            tape = with_own_gates(tape)
        else:
            ctx.tape = None  # the graph may outlive it
        dx, dstate, grads = bound.run_backward(
            tape, gradients, input_gradient=ctx.needs_input_grad[4]
        )
        dh_0 = None if h_0 is None else dstate[0]
        dc_0 = None if c_0 is None else dstate[1]
        return None, None, None, None, dx, dh_0, dc_0, *grads


def _is_batched(gradient: Tensor | None) -> bool:
    """Whether it stands for many gradients: backward inside vmap, as jacobians call it."""
    return gradient is not None and (
        torch._C._functorch.is_batchedtensor(gradient)
        or torch._C._functorch.is_legacy_batchedtensor(gradient)
    )


def tape_tensors(config: Config, tape: StackTape) -> list[Tensor]:
    """Return a tape's arrays as tensors."""
    return list(map(torch.from_numpy, tape_arrays(config, tape)))


def with_states(config: Config, weights: Sequence[Tensor], inputs: Inputs) -> Inputs:
    """Return inputs with the initial state, zeros where none is given."""
    x, h_0, c_0, lengths, resets, masks = inputs
    rows, width = weights[1].shape
    B = x.shape[0 if config.batch_first else 1]
    K = config.num_layers * config.directions
    if h_0 is None:
        h_0 = x.new_zeros((K, B, width))
    if c_0 is None and config.cell == "lstm":
        c_0 = x.new_zeros((K, B, rows // 4))
    return Inputs(x, h_0, c_0, lengths, resets, masks)


def forward_arrays(
    config: Config, weights: Sequence[Tensor], inputs: Inputs, *, keep_tape: bool
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return y, the final state and the tape, whose sizes follow from those of x alone.

    What lengths and resets leave of such a tape is zeros.
    """
    bound = Bound(config, weights)
    call = bound.read(inputs)
    if not keep_tape:
        y, *state = bound.infer(call)
        return y, state, []
    values, last, tape = bound.forward(call)
    kept = tape_tensors(config, tape)
    if inputs.lengths is not None or inputs.resets is not None:
        T, B, _ = call.x.shape
        shapes = tape_shapes(bound.spec, T, B, *most_tape_size(T, B, inputs.resets))
        kept = [_padded(part, shape) for part, shape in zip(kept, shapes, strict=True)]
    y, *state = bound.outputs(values, last)
    return y, state, kept


def _padded(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    if part.dim() == 3:  # a sequence, which has its size already
        return part
    result = part.new_zeros(shape)
    result[: len(part)] = part
    return result
