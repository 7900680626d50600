"""One layer in one direction as pure functions: infer, forward, backward.

Arrays are (T, B, D) with free strides in T and B: a batch-major array goes in as its transpose
view. The dtype of the weights, float32 or float64, is that of all results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import (
    as_array,
    as_booleans,
    as_numpy,
    boolean,
    check_lengths,
    check_shape,
    choice,
    expect_none,
    positive_int,
)
from rnncore._memory import empty, zeros
from rnncore._native import layer as kernels
from rnncore._native.cells import Cell
from rnncore._native.functions import chosen_cell
from rnncore._native.layer import RESET_TO, Resets, Tape, Weights
from rnncore._types import Array, Lengths
from rnncore.state import LSTMState, as_state, read_state

__all__ = ["LSTMState", "Tape", "Weights", "backward", "forward", "infer"]

State = Array | LSTMState


def infer(
    cell: str | Cell,
    x: Any,
    state: Any,
    weights: Weights,
    *,
    lengths: Any = None,
    reverse: bool = False,
    y: Array | None = None,
    resets: Any = None,
    reset_to: str = "zeros",
    activations: Any = None,
    clip: float | None = None,
) -> tuple[Array, State]:
    """Run a sequence without a tape; parameters and errors as for `forward`.

    Returns
    -------
    y : numpy.ndarray, (T, B, H)
    state : numpy.ndarray or LSTMState, (B, H)
    """
    call = _read(_read_cell(cell, activations, clip), x, state, weights, lengths, reverse, y)
    kernels.infer(*call, resets=_read_resets(resets, reset_to, call[1]))
    return call[7], as_state(call[8], call[9])


def forward(
    cell: str | Cell,
    x: Any,
    state: Any,
    weights: Weights,
    *,
    lengths: Any = None,
    reverse: bool = False,
    y: Array | None = None,
    recompute: int | None = None,
    resets: Any = None,
    reset_to: str = "zeros",
    activations: Any = None,
    clip: float | None = None,
) -> tuple[Array, State, Tape]:
    """Run a sequence and keep what `backward` needs.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru", ...}, or the `cell` of a layer
        A cell of the kernels' table; also "gru_reset_before", "lstm_peephole", "lstm_coupled" and
        "lstm_peephole_coupled".
    x : array_like, (T, B, I)
        Not modified; leave it unchanged until `backward`.
    state : array_like or LSTMState, (B, H), or None
        Initial state. None = zeros.
    weights : Weights
        Arrays of one dtype, float32 or float64.
    lengths : array_like of int, (B,), optional
        Valid steps of each sequence, in [0, T].
    reverse : bool
        Whether to start at each sequence's end; y stays aligned with x.
    y : numpy.ndarray, (T, B, H), optional
        Array to write into, of the weights' dtype, its last dimension contiguous.
    recompute : int, optional
        Keep in the tape only every recompute-th state (rounded up to the chunks of steps that
        `backward` works in), and no gates: `backward` computes them again, bit for bit. About
        sqrt(T) takes the least memory. None = keep all.
    resets : array_like of bool, (T, B), optional
        Where the state in front of a step is the initial one: each sequence is cut there, and its
        pieces run as sequences of their own; with `reverse` from each piece's end. The first piece
        to run gets `state`, unless a reset to zeros is in front of step 0; the last one to run
        gives the final state.
    reset_to : {"zeros", "state"}
        The initial state after a reset: zeros, or `state`.
    activations, clip
        As for the layers, with the name of a cell; an RNN has one function.

    Returns
    -------
    y : numpy.ndarray, (T, B, H)
        h at every step; zero behind `lengths`.
    state : numpy.ndarray or LSTMState, (B, H)
        State after the last valid step.
    tape : Tape
        For one call of `backward`.

    Raises
    ------
    TypeError
        If an argument is of the wrong type or dtype.
    ValueError
        If a name, a shape or a length does not fit; the message names the argument.
    """
    call = _read(_read_cell(cell, activations, clip), x, state, weights, lengths, reverse, y)
    kept_apart = 0 if recompute is None else positive_int("recompute", recompute)
    cut = _read_resets(resets, reset_to, call[1])
    tape = kernels.forward(*call, kept_apart, resets=cut)
    return call[7], as_state(call[8], call[9]), tape


def backward(
    tape: Tape,
    dy: Any,
    dstate: Any = None,
    *,
    grads: Weights | None = None,
    input_gradient: bool = True,
    dx: Array | None = None,
) -> tuple[Array | None, State, Weights]:
    """Back-propagate through time.

    Parameters
    ----------
    tape : Tape
        From `forward`; it is used up.
    dy : array_like, (T, B, H), or None
        Gradient of the loss with respect to y. None = zeros.
    dstate : array_like or LSTMState, (B, H), optional
        Gradient with respect to the final state. None = zeros.
    grads : Weights, optional
        Arrays, shaped as the weights, to add the gradients into. None = fresh zeros.
    input_gradient : bool
        Whether to compute dx.
    dx : numpy.ndarray, (T, B, I), optional
        Array to write dx into.

    Returns
    -------
    dx : numpy.ndarray, (T, B, I), or None
        Gradient with respect to x; zero behind `lengths`.
    dstate : numpy.ndarray or LSTMState, (B, H)
        Gradient with respect to the initial state.
    grads : Weights
        Gradients with respect to the weights.

    Raises
    ------
    TypeError, ValueError
        If the tape is none or used already, or an argument does not fit.
    """
    if not isinstance(tape, Tape):
        raise TypeError(f"tape: expected what forward returned, got {type(tape).__name__}")
    if tape.used:
        raise ValueError("tape: already used; call forward again")
    T, B, I = tape.x.shape  # noqa: E741
    H, dtype, has_c = tape.h.shape[1], tape.h.dtype, tape.cell.has_c
    if dy is not None:
        dy = as_array("dy", dy, dtype)
        check_shape("dy", dy, "(T, B, H)", (T, B, H))
    dh_n, dc_n = None, None
    if dstate is not None:
        dh_n, dc_n = read_state("dstate", dstate, has_c, "(B, H)", (B, H), dtype)
    if grads is None:
        own = tape.weights.named(tape.cell)
        grads = Weights.of(
            tape.cell, {n: None if w is None else zeros(w.shape, dtype) for n, w in own.items()}
        )
    else:
        if not isinstance(grads, tuple) or len(grads) != len(tape.weights):
            raise TypeError(f"grads: expected Weights, got {type(grads).__name__}")
        for (name, weight), grad in zip(tape.weights.named(tape.cell).items(), grads, strict=True):
            if (grad is None) != (weight is None):
                expected, got = ("None", "an array") if weight is None else ("an array", "None")
                raise ValueError(f"grads.{name}: expected {expected} as in the weights, got {got}")
            if grad is not None and weight is not None:
                _check_output(f"grads.{name}", grad, "the weight's shape", weight.shape, dtype)
    if not input_gradient:
        dx = None
    elif dx is None:
        dx = empty((T, B, I), dtype)
    else:
        _check_output("dx", dx, "(T, B, I)", (T, B, I), dtype)
    dh_0 = empty((B, H), dtype)
    dc_0 = empty((B, H), dtype) if has_c else None
    kernels.backward(tape, dy, dh_n, dc_n, grads, dx, dh_0, dc_0)
    return dx, as_state(dh_0, dc_0), grads


def _read_cell(cell: Any, activations: Any, clip: Any) -> Cell:
    if not isinstance(cell, Cell):
        return chosen_cell(cell, activations, clip)
    expect_none("with the cell of a layer", activations=activations, clip=clip)
    return cell


def _read(
    row: Cell, x: Any, state: Any, weights: Any, lengths: Any, reverse: Any, y: Any
) -> tuple[
    Cell, Array, Array, Array | None, Weights, Lengths | None, bool, Array, Array, Array | None
]:
    """Return the arguments of `kernels.forward`, checked."""
    weights, features, H = _read_weights(row, weights)
    dtype = weights.weight_ih.dtype
    x = as_array("x", x, dtype)
    if x.ndim != 3 or x.shape[2] != features:
        raise ValueError(f"x: expected (T, B, I) = (any, any, {features}), got {x.shape}")
    T, B, _ = x.shape
    lengths = check_lengths(lengths, T, B)
    h_0, c_0 = read_state("state", state, row.has_c, "(B, H)", (B, H), dtype)
    reverse = boolean("reverse", reverse)
    if y is None:
        y = empty((T, B, H), dtype)
    else:
        _check_output("y", y, "(T, B, H)", (T, B, H), dtype)
    h_n = empty((B, H), dtype)
    c_n = empty((B, H), dtype) if row.has_c else None
    return row, x, h_0, c_0, weights, lengths, reverse, y, h_n, c_n


def _read_resets(value: Any, reset_to: Any, x: Array) -> Resets | None:
    choice("reset_to", reset_to, RESET_TO)
    if value is None:
        return None
    before = as_booleans("resets", value)
    check_shape("resets", before, "(T, B)", x.shape[:2])
    return Resets(before.copy(), reset_to)  # which a tape keeps


def _read_weights(cell: Cell, weights: Any) -> tuple[Weights, int, int]:
    """Return the weights, readable and of one dtype, and I and H."""
    own = len(cell.unit_parameters)  # without any, the biases may be left out too
    if not isinstance(weights, tuple) or len(weights) not in ((4 + own,) if own else (2, 4)):
        raise TypeError(f"weights: expected Weights, got {type(weights).__name__}")
    weights = Weights(*weights)
    if (weights.bias_ih is None) != (weights.bias_hh is None):
        raise ValueError("bias_ih, bias_hh: expected both or none of them")
    dtype = as_numpy("weight_ih", weights.weight_ih).dtype.newbyteorder("=")
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"weight_ih: expected dtype float32 or float64, got {dtype}")
    arrays: dict[str, Array] = {}
    for name, value in weights.named(cell).items():
        if value is not None:
            array = as_numpy(name, value)
            if array.dtype.newbyteorder("=") != dtype:
                raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
            arrays[name] = as_array(name, array, dtype, contiguous=True)
    weight_ih = arrays["weight_ih"]
    if weight_ih.ndim != 2 or weight_ih.shape[1] == 0:
        raise ValueError(f"weight_ih: expected (G*H, I), got {weight_ih.shape}")
    H = weight_ih.shape[0] // cell.gates
    rows = cell.gates * H
    if H == 0 or weight_ih.shape[0] != rows:
        raise ValueError(
            f"weight_ih: expected (G*H, I) with G = {cell.gates}, got {weight_ih.shape}"
        )
    if "weight_hh" not in arrays:
        raise ValueError("weight_hh: expected (G*H, H), got None")
    check_shape("weight_hh", arrays["weight_hh"], f"({cell.gates}*H, H)", (rows, H))
    for name in ("bias_ih", "bias_hh"):
        if name in arrays:
            check_shape(name, arrays[name], f"({cell.gates}*H,)", (rows,))
    for name, letters in cell.unit_parameters.items():
        if name not in arrays:
            raise ValueError(f"{name}: expected ({len(letters)}, H), got None")
        check_shape(name, arrays[name], f"({len(letters)}, H)", (len(letters), H))
    return Weights.of(cell, arrays), weight_ih.shape[1], H


def _check_output(
    name: str, array: Any, symbols: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Check what Python can say better than the binding, which checks the memory itself."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a numpy array, got {type(array).__name__}")
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    check_shape(name, array, symbols, shape)
