"""The closed loop: allocates what the kernels write and calls them. Checks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rnncore._memory import aligned_empty
from rnncore._native.cells import Cell
from rnncore._native.isa import core
from rnncore._native.layer import NO_RESETS, Resets, Weights, tape_rows
from rnncore._types import Array, Lengths
from rnncore.state import StackState


class OutputWeights(NamedTuple):
    """Parameters of readout and feedback; F = O times the number of delays.

    Attributes
    ----------
    weight_oh : numpy.ndarray, (G*H, F), or None
        U, from the outputs fed back to the first layer's gates.
    weight_ho : numpy.ndarray, (O, H)
        P, from h of the last layer to the output.
    weight_oo : numpy.ndarray, (O, F), or None
        Q, from the outputs fed back to the output.
    bias_o : numpy.ndarray, (O,), or None
    """

    weight_oh: Array | None
    weight_ho: Array
    weight_oo: Array | None = None
    bias_o: Array | None = None


class Loop(NamedTuple):
    """A stack with feedback: what does not change from call to call."""

    cell: Cell
    layers: Sequence[Weights]
    output: OutputWeights
    activation: str
    delays: tuple[int, ...]
    reverse: bool = False


@dataclass(eq=False, repr=False)
class LoopTape:
    """What backward needs of one forward call; good for one backward call."""

    loop: Loop
    x: Array
    from_targets: Array | None
    lengths: Lengths | None
    layers: list[tuple[Array, Array, Array | None]]  # gates, h, c
    y: Array
    fed: Array
    resets: Resets | None = None
    used: bool = False


def forward(
    loop: Loop,
    x: Array,
    state: StackState,
    lengths: Lengths | None,
    targets: Array | None,
    from_targets: Array | None,
    y: Array,
    last: StackState,
    *,
    training: bool,
    batch_invariant: bool = False,
    resets: Resets | None = None,
) -> LoopTape | None:
    """Run the loop into y (T, B, O) and `last`; return the tape when training.

    With `batch_invariant` a sequence's bits do not depend on the others beside it, nor on how it is
    cut into calls.
    """
    T, B, _ = x.shape
    D, O = state.y.shape[0], state.y.shape[2]  # noqa: E741
    H, dtype = state.h.shape[2], x.dtype
    tape = None
    if training:
        rows, pieces = tape_rows(T, B, lengths, resets)
        layers = []
        for k in range(len(loop.layers)):
            fed = O * len(loop.delays) if k == 0 else 0
            shapes = [(rows, loop.cell.slots * H), (rows + pieces, H + fed)]
            shapes += [(rows + pieces, H)] if loop.cell.has_c else []
            gates, h, *c = aligned_empty(*shapes, dtype=dtype)
            h[:, H:] = 0  # of the last states nobody writes it: a tape's numbers are all defined
            layers.append((gates, h, c[0] if c else None))
        outputs, history = aligned_empty((rows, O), (D * pieces + rows, O), dtype=dtype)
        tape = LoopTape(loop, x, from_targets, lengths, layers, outputs, history, resets)
    core.closed_loop_forward(
        loop.cell.key, x, loop.layers, loop.output, loop.activation, loop.delays, state, y, last,
        targets, from_targets, lengths, loop.reverse,
        None if tape is None else (tape.layers, tape.y, tape.fed), batch_invariant,
        *(resets or NO_RESETS),
    )  # fmt: skip
    return tape


def backward(
    tape: LoopTape,
    dy: Array,
    dlast: StackState,
    layers: Sequence[Weights],
    output: OutputWeights,
    dx: Array | None,
    dstate: StackState,
) -> None:
    """Run backward into dx and dstate, add into the gradients. Uses the tape up."""
    loop = tape.loop
    tape.used = True
    try:
        core.closed_loop_backward(
            loop.cell.key, tape.x, loop.layers, loop.output, loop.activation, loop.delays,
            (tape.layers, tape.y, tape.fed), dy, dlast, dx, dstate, layers, output,
            tape.from_targets, tape.lengths, loop.reverse, *(tape.resets or NO_RESETS),
        )  # fmt: skip
    except (TypeError, ValueError, MemoryError):  # raised before the kernel wrote anything
        tape.used = False
        raise
