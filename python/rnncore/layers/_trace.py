"""What happened inside a layer, read out of the kernels' tapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore._memory import zeros
from rnncore._native.functions import gate_values
from rnncore._native.layer import Tape
from rnncore._types import Array
from rnncore.layers._call import Call
from rnncore.layers._layout import as_user
from rnncore.layers._spec import StackSpec


class Trace(NamedTuple):
    """States and gates of one layer in one direction, laid out as x with H features.

    Zero behind `lengths`; the reverse direction stands at the positions of x, as y does.

    Attributes
    ----------
    h : numpy.ndarray, or list of them
        After each step.
    c : numpy.ndarray, list of them, or None
        The same of c, in an LSTM.
    gates : dict of str to numpy.ndarray, or to a list of them
        Activated gates by their letter: i f g o of an LSTM (with coupled_gates i g o), r z n of a
        GRU; of an RNN h, what its one gate gives.
    """

    h: Any
    c: Any | None
    gates: dict[str, Any]


def check_traceable(spec: StackSpec) -> None:
    """Raise ValueError for a stack that runs in closed loop, step by step."""
    if spec.proj_size or spec.readout is not None:
        kind = "proj_size" if spec.proj_size else "output_size"
        raise ValueError(f"return_trace: expected a layer without {kind}, got one with it")


def read_traces(spec: StackSpec, call: Call, tapes: Sequence[Tape]) -> list[Trace]:
    """Return the trace of each layer and direction from its tape of every step."""
    return [_read_trace(spec, call, tape) for tape in tapes]


def _read_trace(spec: StackSpec, call: Call, tape: Tape) -> Trace:
    _, B, _ = call.x.shape
    H = spec.hidden_size
    assert tape.gates is not None

    def user(rows: Array) -> Any:
        return as_user(call.layout, _by_time(call, rows, tape.reverse), call.lengths)

    gates = {
        letter: user(gate_values(tape.cell, letter, tape.gates[:, slot * H : (slot + 1) * H]))
        for slot, letter in enumerate(spec.cell.gate_letters)
    }
    c = None if tape.c is None else user(tape.c[B:])  # in front: the initial states
    return Trace(user(tape.h[B:]), c, gates)


def _by_time(call: Call, rows: Array, reverse: bool) -> Array:
    """Return the tape's rows (N, D), step by step and the longest sequence first, as (T, B, D)."""
    T, B, _ = call.x.shape
    lengths = np.full(B, T) if call.lengths is None else call.lengths
    order = np.argsort(-lengths, kind="stable")
    step, row = np.nonzero(np.arange(T)[:, None] < lengths[order])
    sequence = order[row]
    result = zeros((B, T, rows.shape[1]), rows.dtype).transpose(1, 0, 2)
    result[lengths[sequence] - 1 - step if reverse else step, sequence] = rows
    return result
