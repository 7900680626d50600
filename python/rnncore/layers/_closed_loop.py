"""Closed loop: outputs feed back step by step, or given targets where a mask says so."""

from __future__ import annotations

from rnncore._memory import empty, empty_like, zeros
from rnncore._native import closed_loop
from rnncore._native.closed_loop import Loop, LoopTape
from rnncore._types import Array
from rnncore.layers._call import Call
from rnncore.layers._engine import Engine
from rnncore.layers._layout import new_sequences
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.state import StackState


class ClosedLoop(Engine):
    """One kernel runs all layers and the readout step by step."""

    kernels = 1

    def __init__(self, spec: StackSpec, parameters: StackArrays, gradients: StackArrays) -> None:
        assert spec.readout is not None
        assert parameters.readout is not None
        assert gradients.readout is not None
        self._spec, self._readout = spec, spec.readout
        self._gradients, self._readout_gradients = gradients.layers, gradients.readout
        self._loop = Loop(
            spec.cell,
            parameters.layers,
            parameters.readout,
            self._readout.activation,
            self._readout.delays,
        )

    def infer(self, call: Call) -> tuple[Array, StackState]:
        """Return y and the final state."""
        y = self._new_outputs(call)
        return y, self.run_into(y, call)

    def run_into(self, y: Array, call: Call) -> StackState:
        """Write y (T, B, O) without a tape; return the final state."""
        last = StackState(*(None if part is None else empty_like(part) for part in call.state))
        self._run(call, y, last, training=False)
        return last

    def forward(self, call: Call) -> tuple[Array, StackState, LoopTape]:
        """Return y, the final state and the tape."""
        y = self._new_outputs(call)
        last = StackState(*(None if part is None else empty_like(part) for part in call.state))
        tape = self._run(call, y, last, training=True)
        assert tape is not None
        return y, last, tape

    def _new_outputs(self, call: Call) -> Array:
        T, B, _ = call.x.shape
        return new_sequences(call.layout, (T, B, self._readout.size), self._spec.dtype)

    def _run(self, call: Call, y: Array, last: StackState, *, training: bool) -> LoopTape | None:
        return closed_loop.forward(
            self._loop, call.x, call.state, call.lengths, call.targets, call.from_targets, y, last,
            training=training, batch_invariant=call.batch_invariant, resets=call.resets,
        )  # fmt: skip

    def backward(
        self, tape: LoopTape, dy: Array | None, dlast: StackState, dx: Array | None
    ) -> StackState:
        """Write dx; return the gradient of the initial state."""
        spec, (T, B, _) = self._spec, tape.x.shape
        O, states = self._readout.size, (spec.num_layers, B, spec.hidden_size)  # noqa: E741
        if dy is None:
            dy = zeros((T, B, O), spec.dtype)
        first = StackState(
            empty(states, spec.dtype),
            empty(states, spec.dtype) if spec.cell.has_c else None,
            empty((self._readout.longest_delay, B, O), spec.dtype),
        )
        closed_loop.backward(tape, dy, dlast, self._gradients, self._readout_gradients, dx, first)
        return first
