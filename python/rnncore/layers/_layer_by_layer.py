"""All steps of one layer, then those of the next: plain stacks, and LSTMs with a projection."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from rnncore._memory import empty, empty_like, zeros
from rnncore._native import closed_loop
from rnncore._native import layer as kernels
from rnncore._native.closed_loop import Loop, LoopTape
from rnncore._native.layer import Feedback
from rnncore._types import Array
from rnncore.layers._call import Call
from rnncore.layers._engine import Engine
from rnncore.layers._layout import new_sequences
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.state import StackState


@dataclass(eq=False, repr=False)
class StackTape:
    """What backward needs of one forward through the stack."""

    call: Call
    kernels: list[Any]  # a kernel's tape for each layer and direction

    @property
    def used(self) -> bool:
        """Whether backward has overwritten a part of it."""
        return True in [kernel.used for kernel in self.kernels]


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
        self, call: Call, tape: StackTape | None, feedback: Feedback | None = None
    ) -> tuple[Array, StackState]:
        """Run the layers, filling the tape; `feedback` goes into the first layer."""
        spec, D, width = self._spec, self._spec.directions, self._spec.width
        T, B, _ = call.x.shape
        h_0, c_0, y_0 = call.state
        h_n = empty(h_0.shape, spec.dtype)
        c_n = None if c_0 is None else empty(c_0.shape, spec.dtype)
        y = call.x
        for k in range(spec.depth):
            direction = k % D
            if direction == 0:
                if k > 0 and call.masks:
                    y *= call.masks[k // D - 1]
                x, y = y, new_sequences(call.layout, (T, B, D * width), spec.dtype)
            kernel = self._run_one(
                k, call, x, h_0[k], None if c_0 is None else c_0[k],
                y if D == 1 else y[..., direction * width : (direction + 1) * width],
                h_n[k], None if c_n is None else c_n[k], feedback if k == 0 else None,
                training=tape is not None,
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
        feedback_gradient: Feedback | None = None,
    ) -> StackState:
        """Write dx and `feedback_gradient`; return the gradient of the initial state."""
        spec, D, width, call = self._spec, self._spec.directions, self._spec.width, tape.call
        T, B, _ = call.x.shape
        dh_n, dc_n, _ = dlast
        dh_0 = empty((spec.depth, B, width), spec.dtype)
        dc_0 = empty((spec.depth, B, spec.hidden_size), spec.dtype) if spec.cell.has_c else None
        for layer in reversed(range(spec.num_layers)):
            if layer < spec.num_layers - 1 and call.masks:
                assert dy is not None
                dy *= call.masks[layer]
            below = new_sequences(call.layout, (T, B, D * width), spec.dtype) if layer > 0 else dx
            for direction in range(D):
                k, part = layer * D + direction, dy
                if dy is not None and D > 1:
                    part = dy[..., direction * width : (direction + 1) * width]
                into = below  # the second direction's part is added to the first one's
                if direction > 0 and below is not None:
                    into = new_sequences(call.layout, below.shape, spec.dtype)
                self._backward_one(
                    k, tape.kernels[k], part, None if dh_n is None else dh_n[k],
                    None if dc_n is None else dc_n[k], into, dh_0[k],
                    None if dc_0 is None else dc_0[k], feedback_gradient if k == 0 else None,
                )  # fmt: skip
                if direction > 0 and below is not None:
                    below += into
            dy = below
        return StackState(dh_0, dc_0, None)

    @abstractmethod
    def _run_one(
        self,
        k: int,
        call: Call,
        x: Array,
        h_0: Array,
        c_0: Array | None,
        y: Array,
        h_n: Array,
        c_n: Array | None,
        feedback: Feedback | None,
        *,
        training: bool,
    ) -> Any:
        """Run layer and direction k on x into y, h_n and c_n; return its tape when training."""

    @abstractmethod
    def _backward_one(
        self,
        k: int,
        kernel: Any,
        dy: Array | None,
        dh_n: Array | None,
        dc_n: Array | None,
        dx: Array | None,
        dh_0: Array,
        dc_0: Array | None,
        feedback_gradient: Feedback | None,
    ) -> None:
        """Run layer and direction k backward into dx, dh_0 and dc_0."""

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
        h_0: Array,
        c_0: Array | None,
        y: Array,
        h_n: Array,
        c_n: Array | None,
        feedback: Feedback | None,
        *,
        training: bool,
    ) -> kernels.Tape | None:
        arguments = (
            self._spec.cell_of(k), x, h_0, c_0, self._parameters.layers[k], call.lengths,
            self._reverse(k), y, h_n, c_n,
        )  # fmt: skip
        options: Any = {"batch_invariant": call.batch_invariant, "resets": call.resets}
        regularisers = self._spec.regularisers
        if training:
            noise = regularisers.expectation
            if call.seed is not None:
                weight_hh = self._parameters.layers[k].weight_hh
                noise = regularisers.noise(call.seed, k, x.shape[1], weight_hh)
            return kernels.forward(*arguments, call.recompute, feedback, **options, noise=noise)
        options["noise"] = regularisers.expectation
        kernels.infer(*arguments, self._caches[k], feedback, **options)
        return None

    def _backward_one(
        self,
        k: int,
        kernel: kernels.Tape,
        dy: Array | None,
        dh_n: Array | None,
        dc_n: Array | None,
        dx: Array | None,
        dh_0: Array,
        dc_0: Array | None,
        feedback_gradient: Feedback | None,
    ) -> None:
        kernels.backward(
            kernel, dy, dh_n, dc_n, self._gradients.layers[k], dx, dh_0, dc_0, feedback_gradient
        )


class Projected(LayerByLayer):
    """Layers whose h is projected: r = P h is the output and what feeds back.

    For the kernels that is a closed loop of one layer without R, whose readout is the projection.
    """

    def _run_one(
        self,
        k: int,
        call: Call,
        x: Array,
        h_0: Array,
        c_0: Array | None,
        y: Array,
        h_n: Array,
        c_n: Array | None,
        feedback: Feedback | None,
        *,
        training: bool,
    ) -> LoopTape | None:
        spec = self._spec
        loop = projected_loop(spec, self._parameters, k)
        assert c_0 is not None
        h = zeros((1, *c_0.shape), spec.dtype)  # before the first step; nothing reads it
        return closed_loop.forward(
            loop, x, _looped(h, c_0, h_0), call.lengths, None, None, y,
            _looped(empty_like(h), c_n, h_n), training=training,
            batch_invariant=call.batch_invariant, resets=call.resets,
        )  # fmt: skip

    def _backward_one(
        self,
        k: int,
        kernel: LoopTape,
        dy: Array | None,
        dh_n: Array | None,
        dc_n: Array | None,
        dx: Array | None,
        dh_0: Array,
        dc_0: Array | None,
        feedback_gradient: Feedback | None,
    ) -> None:
        assert dc_0 is not None
        T, B, _ = kernel.x.shape
        if dy is None:
            dy = zeros((T, B, self._spec.width), self._spec.dtype)
        h = empty((1, *dc_0.shape), self._spec.dtype)
        closed_loop.backward(
            kernel, dy, _looped(None, dc_n, dh_n), [self._gradients.layers[k]],
            self._gradients.projections[k], dx, _looped(h, dc_0, dh_0),
        )  # fmt: skip


def projected_loop(spec: StackSpec, parameters: StackArrays, k: int) -> Loop:
    """Return layer and direction k of a stack with projection as the kernels see it."""
    weights, projections = parameters.layers[k], parameters.projections[k]
    reverse = k % spec.directions == 1
    return Loop(spec.cell_of(k), [weights], projections, "identity", (1,), reverse)


def _looped(h: Array | None, c: Array | None, r: Array | None) -> StackState:
    """Return the state of a loop of one layer, whose fed output is the projected h, r."""
    return StackState(h, None if c is None else c[None], None if r is None else r[None])
