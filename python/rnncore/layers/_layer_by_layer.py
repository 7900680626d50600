"""All steps of one layer, then those of the next: plain stacks, and LSTMs with a projection."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._memory import empty, zeros
from rnncore._native import closed_loop
from rnncore._native import layer as kernels
from rnncore._native.closed_loop import Loop, LoopTape
from rnncore._native.layer import Given
from rnncore._types import Array
from rnncore.layers._call import Call
from rnncore.layers._engine import Engine
from rnncore.layers._layout import new_sequences
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.state import StackState


@dataclass(eq=False, repr=False, slots=True)
class StackTape:
    """What backward needs of one forward through the stack."""

    call: Call
    kernels: list[Any]  # a kernel's tape for each layer and direction

    @property
    def used(self) -> bool:
        """Whether backward has overwritten a part of it."""
        return any(kernel.used for kernel in self.kernels)


class LayerByLayer(Engine):
    """A stack in one or two directions; how one layer runs in one direction is the subclass's."""

    def __init__(self, spec: StackSpec, parameters: StackArrays, gradients: StackArrays) -> None:
        self._spec, self._parameters, self._gradients = spec, parameters, gradients
        self.kernels = spec.depth

    def infer(self, call: Call) -> tuple[Array, StackState]:
        """Return y and the final state."""
        return self.run(call, None)

    def forward(self, call: Call) -> tuple[Array, StackState, StackTape]:
        """Return y, the final state and the tape."""
        tape = StackTape(call, [])
        return *self.run(call, tape), tape

    def run(
        self, call: Call, tape: StackTape | None, fed: Given | None = None
    ) -> tuple[Array, StackState]:
        """Run the layers, filling the tape; `fed`: given values that the first layer reads too."""
        spec, (T, B, _) = self._spec, call.x.shape
        h_0, c_0, y_0 = call.state
        h_n = empty(h_0.shape, spec.dtype)
        c_n = None if c_0 is None else empty(c_0.shape, spec.dtype)
        first, last = StackState(h_0, c_0, None), StackState(h_n, c_n, None)
        y = call.x
        for layer in range(spec.num_layers):
            if layer > 0 and call.masks:
                y *= call.masks[layer - 1]
            x, y = y, new_sequences(call.layout, (T, B, spec.directions * spec.width), spec.dtype)
            for direction in range(spec.directions):
                k = layer * spec.directions + direction
                kernel = self._run_one(
                    k, call, x, first.of_layer(k), self._part(y, direction), last.of_layer(k),
                    fed if k == 0 else None, training=tape is not None,
                )  # fmt: skip
                if tape is not None:
                    tape.kernels.append(kernel)
        return y, StackState(h_n, c_n, y_0)

    def backward(
        self,
        tape: StackTape,
        dy: Array | None,
        dlast: StackState,
        dx: Array | None,
        fed_gradient: Given | None = None,
    ) -> StackState:
        """Write dx and `fed_gradient`; return the gradient of the initial state."""
        spec, call = self._spec, tape.call
        T, B, _ = call.x.shape
        first = StackState(
            empty((spec.depth, B, spec.width), spec.dtype),
            empty((spec.depth, B, spec.hidden_size), spec.dtype) if spec.cell.has_c else None,
            None,
        )
        features = spec.directions * spec.width  # of what a layer above the first reads
        for layer in reversed(range(spec.num_layers)):
            if layer < spec.num_layers - 1 and call.masks:
                assert dy is not None
                dy *= call.masks[layer]
            below = new_sequences(call.layout, (T, B, features), spec.dtype) if layer > 0 else dx
            for direction in range(spec.directions):
                k = layer * spec.directions + direction
                into = below  # the second direction's part is added to the first one's
                if direction > 0 and below is not None:
                    into = new_sequences(call.layout, below.shape, spec.dtype)
                self._backward_one(
                    k, tape.kernels[k], None if dy is None else self._part(dy, direction),
                    dlast.of_layer(k),
                    into, first.of_layer(k), fed_gradient if k == 0 else None,
                )  # fmt: skip
                if direction > 0 and below is not None:
                    below += into
            dy = below
        return first

    @abstractmethod
    def _run_one(
        self,
        k: int,
        call: Call,
        x: Array,
        first: StackState,
        y: Array,
        last: StackState,
        fed: Given | None,
        *,
        training: bool,
    ) -> Any:
        """Run layer and direction k on x into y and `last`; return its tape when training."""

    @abstractmethod
    def _backward_one(
        self,
        k: int,
        kernel: Any,
        dy: Array | None,
        dlast: StackState,
        dx: Array | None,
        dfirst: StackState,
        fed_gradient: Given | None,
    ) -> None:
        """Run layer and direction k backward into dx and `dfirst`."""

    def _part(self, sequences: Array, direction: int) -> Array:
        """Return one direction's features of (T, B, D*width)."""
        spec = self._spec
        if spec.directions == 1:
            return sequences
        return sequences[..., direction * spec.width : (direction + 1) * spec.width]

    def _reverse(self, k: int) -> bool:
        return k % self._spec.directions == 1


class Plain(LayerByLayer):
    """Layers whose outputs are h."""

    def __init__(self, spec: StackSpec, parameters: StackArrays, gradients: StackArrays) -> None:
        super().__init__(spec, parameters, gradients)
        self._caches = [  # a layer without R packs nothing that could be kept
            None if weights.weight_hh is None else kernels.weight_cache()
            for weights in parameters.layers
        ]

    def _run_one(
        self,
        k: int,
        call: Call,
        x: Array,
        first: StackState,
        y: Array,
        last: StackState,
        fed: Given | None,
        *,
        training: bool,
    ) -> kernels.Tape | None:
        arguments = (
            self._spec.cell, x, first.h, first.c, self._parameters.layers[k], call.lengths,
            self._reverse(k), y, last.h, last.c,
        )  # fmt: skip
        if training:
            return kernels.forward(*arguments, call.recompute, fed)
        kernels.infer(*arguments, self._caches[k], fed)
        return None

    def _backward_one(
        self,
        k: int,
        kernel: kernels.Tape,
        dy: Array | None,
        dlast: StackState,
        dx: Array | None,
        dfirst: StackState,
        fed_gradient: Given | None,
    ) -> None:
        kernels.backward(
            kernel, dy, dlast.h, dlast.c, self._gradients.layers[k], dx, dfirst.h, dfirst.c,
            fed_gradient,
        )  # fmt: skip


class Projected(LayerByLayer):
    """Layers whose h is projected: r = P h is the output and what feeds back.

    For the kernels that is a closed loop of one layer without R, whose readout is the projection.
    """

    def _run_one(
        self,
        k: int,
        call: Call,
        x: Array,
        first: StackState,
        y: Array,
        last: StackState,
        fed: Given | None,
        *,
        training: bool,
    ) -> LoopTape | None:
        spec, (weights, projections, _) = self._spec, self._parameters
        loop = Loop(spec.cell, [weights[k]], projections[k], "identity", (1,), self._reverse(k))
        assert first.c is not None
        h = zeros((1, *first.c.shape), spec.dtype)  # before the first step; nothing reads it
        return closed_loop.forward(
            loop, x, _looped(h, first), call.lengths, None, None, y,
            _looped(np.empty_like(h), last), training=training,
        )  # fmt: skip

    def _backward_one(
        self,
        k: int,
        kernel: LoopTape,
        dy: Array | None,
        dlast: StackState,
        dx: Array | None,
        dfirst: StackState,
        fed_gradient: Given | None,
    ) -> None:
        assert dfirst.c is not None
        T, B, _ = kernel.x.shape
        if dy is None:
            dy = zeros((T, B, self._spec.width), self._spec.dtype)
        h = empty((1, *dfirst.c.shape), self._spec.dtype)
        closed_loop.backward(
            kernel, dy, _looped(None, dlast), [self._gradients.layers[k]],
            self._gradients.projections[k], dx, _looped(h, dfirst),
        )  # fmt: skip


def _looped(h: Any, state: StackState) -> StackState:
    """Return the loop's state: its h is inner, its fed output the layer's h."""
    r, c, _ = state
    return StackState(h, None if c is None else c[None], None if r is None else r[None])
