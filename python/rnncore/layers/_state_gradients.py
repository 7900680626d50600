"""How a loss depends on the states of every step: back-propagation, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore import functional
from rnncore._memory import zeros
from rnncore._native.layer import Tape, Weights
from rnncore._types import Array
from rnncore.layers._call import Call, read_call, read_state_gradient
from rnncore.layers._layout import as_user, read_like_x
from rnncore.layers._learned_state import LearnedState
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.state import StackState, as_state


def state_gradients(
    self: Any, x: Any, dy: Any, dstate: Any = None, *, state: Any = None, lengths: Any = None
) -> list[Any]:
    """Return the gradient of a loss with respect to h of every step, layer by layer.

    It is the whole dL/dh_t: through y_t, through the layers above and through all later steps; in
    an LSTM at a given c_t. How its norm falls towards the first steps shows whether gradients
    vanish. Computed as in prediction, without dropout, and exactly, in one pass forward and one
    back, but a step at a time: for looking at a few sequences, not for training. `grads` stay.

    Parameters
    ----------
    x, state, lengths
        As for `forward`.
    dy, dstate
        As for `backward`: the gradient with respect to y and to the final state; None = zeros.

    Returns
    -------
    list of numpy.ndarray, or of lists of them
        One for each layer and direction, in memory order, laid out as x with H features; zero
        behind `lengths`.

    Raises
    ------
    TypeError, ValueError
        As for `forward` and `backward`; and for a layer with output_size, proj_size or zoneout.
    """
    spec: StackSpec = self.spec
    _check(spec)
    learned = LearnedState.of(self.parameters)
    call = read_call(spec, self.batch_first, x, state, lengths, None, learned)
    T, B, _ = call.x.shape
    layout, ends = call.layout, call.lengths
    above = zeros((T, B, spec.features), spec.dtype)
    if dy is not None:
        above += read_like_x("dy", dy, layout, above.shape, ends, spec.dtype, "D*H")
    dlast = read_state_gradient("dstate", spec, dstate, B, layout.name == "SINGLE")
    runs = _run(spec, call, StackArrays.of(spec, self.parameters).layers)
    found = []
    for k in reversed(range(spec.depth)):
        d, H = k % spec.directions, spec.hidden_size
        if d == spec.directions - 1:
            outputs, above = above, zeros(runs[k].x.shape, spec.dtype)
        own = outputs[:, :, d * H : (d + 1) * H]
        dh, dx = _run_back(runs[k], own, _part(spec, dlast, k, B))
        above += dx
        found.append(as_user(layout, dh, ends))
    return found[::-1]


class _Run(NamedTuple):
    """One layer in one direction, that ran over all steps."""

    x: Array  # (T, B, D)
    steps: Sequence[int]  # in the order they ran in
    active: Array | None  # (T, B): 1 where a step is valid; None: everywhere
    tapes: Sequence[Tape]  # in that order too
    has_c: bool


def _check(spec: StackSpec) -> None:
    kinds = {
        "proj_size": spec.proj_size,
        "output_size": spec.readout is not None,
        "zoneout": spec.regularisers.zoneout,
    }
    for kind, there in kinds.items():
        if there:
            raise ValueError(f"state_gradients: expected a layer without {kind}, got one with it")


def _part(spec: StackSpec, dlast: StackState, k: int, B: int) -> Any:
    """Return the final state's gradient of one layer; zeros for None."""
    h, c = (
        zeros((B, spec.hidden_size), spec.dtype) if array is None else array[k]
        for array in (dlast.h, dlast.c)
    )
    return as_state(h, c if spec.cell.has_c else None)


def _run(spec: StackSpec, call: Call, weights: Sequence[Weights]) -> list[_Run]:
    """Run all layers, a step at a time, and keep each step's tape."""
    x, (T, B, _) = call.x, call.x.shape
    active = None
    if call.lengths is not None:
        active = (np.arange(T)[:, None] < call.lengths).astype(np.int64)
    runs: list[_Run] = []
    for first in range(0, spec.depth, spec.directions):
        outputs = []
        for k in range(first, first + spec.directions):
            y, tapes = zeros((T, B, spec.hidden_size), spec.dtype), []
            steps = range(T) if k == first else range(T)[::-1]
            state = as_state(call.state.h[k], None if call.state.c is None else call.state.c[k])
            for t in steps:
                here = None if active is None else active[t]
                _, state, tape = functional.forward(
                    spec.cell_of(k), x[t : t + 1], state, weights[k], lengths=here, y=y[t : t + 1]
                )
                tapes.append(tape)
            runs.append(_Run(x, steps, active, tapes, spec.cell.has_c))
            outputs.append(y)
        x = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
    return runs


def _run_back(run: _Run, dy: Array, gradient: Any) -> tuple[Array, Array]:
    """Return the gradients of h, (T, B, H), and of x; `gradient` is that of the final state."""
    dh, dx = zeros(dy.shape, dy.dtype), zeros(run.x.shape, dy.dtype)
    unused = None
    for t, tape in zip(reversed(run.steps), reversed(run.tapes), strict=True):
        later = gradient.h if run.has_c else gradient
        dh[t] = dy[t] + later
        if run.active is not None:
            dh[t] *= run.active[t][:, None]
        _, gradient, unused = functional.backward(
            tape, dy[t : t + 1], gradient, grads=unused, dx=dx[t : t + 1]
        )
    return dh, dx
