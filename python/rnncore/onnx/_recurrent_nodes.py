"""ONNX's nodes RNN, GRU and LSTM as layers of rnncore, and their weights in both orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import GRU, LSTM, RNN, LSTMState
from rnncore._checks import check_lengths
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.onnx._gates import ORDERS, PEEPHOLES, USUAL, node_activations, reordered

KINDS: dict[str, Any] = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
DIRECTIONS = ("forward", "reverse", "bidirectional")
ATTRIBUTES = {
    "RNN": "activation_alpha activation_beta activations clip direction hidden_size layout",
    "GRU": "activation_alpha activation_beta activations clip direction hidden_size layout "
    "linear_before_reset",
    "LSTM": "activation_alpha activation_beta activations clip direction hidden_size layout "
    "input_forget",
}
# Inputs by their places: x, the weights, then what may differ from call to call.
X, W, R, B, LENGTHS, H0, C0, P = range(8)
WEIGHTS = {"RNN": (W, R, B), "GRU": (W, R, B), "LSTM": (W, R, B, P)}
OUTPUTS = {"RNN": 2, "GRU": 2, "LSTM": 3}  # how many at most
NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def count_directions(attributes: Mapping[str, Any]) -> int:
    """Return D."""
    return 2 if attributes.get("direction", "forward") == "bidirectional" else 1


def layer_options(
    kind: str, attributes: Mapping[str, Any], *, bias: bool, peephole: bool
) -> dict[str, Any]:
    """Return the options of rnncore's layer; ValueError names an attribute that does not fit."""
    direction = attributes.get("direction", "forward")
    if direction not in DIRECTIONS:
        raise ValueError(f"direction: expected one of {', '.join(DIRECTIONS)}, got {direction!r}")
    if attributes.get("layout", 0) not in (0, 1):
        raise ValueError(f"layout: expected 0 or 1, got {attributes['layout']}")
    for name in ("linear_before_reset", "input_forget"):
        if attributes.get(name, 0) not in (0, 1):
            raise ValueError(f"{name}: expected 0 or 1, got {attributes[name]}")
    options: dict[str, Any] = {"bias": bias, "bidirectional": direction == "bidirectional"}
    clip = attributes.get("clip")
    if clip is not None:
        if not clip > 0:
            raise ValueError(f"clip: expected a positive number, got {clip}")
        options["clip"] = clip
    if kind == "LSTM":
        options |= {"peephole": peephole, "coupled_gates": bool(attributes.get("input_forget", 0))}
    if kind == "GRU" and not attributes.get("linear_before_reset", 0):
        options["reset_after"] = False
    return options | _activation_options(kind, attributes)


def _activation_options(kind: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    D = count_directions(attributes)
    found = node_activations(attributes, len(USUAL[kind]) * D)
    if found is None or found == USUAL[kind] * D:
        return {}
    if kind != "RNN":
        return {"activations": found}
    same = all(each == found[0] for each in found)
    return {"nonlinearity": found[0] if same else found}


def check_weights(kind: str, attributes: Mapping[str, Any], arrays: Mapping[int, Array]) -> int:
    """Raise ValueError unless the shapes of W, R, B and P agree; return I."""
    gates, D = len(ORDERS[kind]), count_directions(attributes)
    weight, recurrent = arrays[W], arrays[R]
    if weight.ndim != 3 or recurrent.ndim != 3:
        got = f"{weight.shape} and {recurrent.shape}"
        raise ValueError(f"W and R: expected (D, {gates}*H, I) and (D, {gates}*H, H), got {got}")
    H, features = recurrent.shape[2], int(weight.shape[2])
    hidden = attributes.get("hidden_size", H)
    if hidden != H:
        raise ValueError(f"hidden_size: expected {H}, as R says, got {hidden}")
    wanted = {
        W: (D, gates * H, features), R: (D, gates * H, H), B: (D, 2 * gates * H), P: (D, 3 * H),
    }  # fmt: skip
    for place, array in arrays.items():
        if array.shape != wanted[place] or 0 in array.shape:
            raise ValueError(f"{NAMES[place]}: expected {wanted[place]}, got {array.shape}")
    return features


def layer_parameters(layer: Any, kind: str, arrays: Mapping[int, Array]) -> dict[str, Array]:
    """Return the layer's parameters out of W, R, B and P."""
    order, cell = ORDERS[kind], layer.spec.cell
    letters = cell.gate_letters if len(order) > 1 else order
    found: dict[str, Array] = {}
    for d, names in enumerate(layer.spec.layer_names):
        found[names["weight_ih"]] = reordered(arrays[W][d], order, letters)
        found[names["weight_hh"]] = reordered(arrays[R][d], order, letters)
        if B in arrays:
            both = np.split(arrays[B][d], 2)
            found[names["bias_ih"]] = reordered(both[0], order, letters)
            found[names["bias_hh"]] = reordered(both[1], order, letters)
        if P in arrays:
            rows = arrays[P][d].reshape(3, -1)
            wanted = cell.unit_parameters["peephole"]
            found[names["peephole"]] = reordered(rows, PEEPHOLES, wanted)
    return found


@dataclass(eq=False)
class NodeTape:
    """What the gradient of a recurrent node needs."""

    layer: Any
    tape: Any
    lengths: Lengths | None
    attributes: Mapping[str, Any]


def run_recurrent(
    layer: Any, attributes: Mapping[str, Any], inputs: list[Any], *, training: bool
) -> tuple[tuple[Any, ...], NodeTape | None]:
    """Return Y, Y_h and, of an LSTM, Y_c; and the tape if asked."""
    given = [*inputs, *[None] * (8 - len(inputs))]
    batch_first = attributes.get("layout", 0) == 1
    x = given[X]
    if x.ndim != 3:
        raise ValueError(f"X: expected three dimensions, got {x.shape}")
    x = x.transpose(1, 0, 2) if batch_first else x
    lengths = check_lengths(given[LENGTHS], *x.shape[:2])
    state = _read_state(layer, given[H0], given[C0], x.shape[1], batch_first)
    backwards = attributes.get("direction") == "reverse"
    if backwards:
        x = reversed_steps(x, lengths)
    kept = None
    if training:
        y, last, tape = layer.forward(x, state, lengths=lengths)
        kept = NodeTape(layer, tape, lengths, attributes)
    else:
        y, last = layer(x, state, lengths=lengths)
    if backwards:
        y = reversed_steps(y, lengths)
    arrays = list(last) if isinstance(last, tuple) else [last]
    T, N, _ = y.shape
    y = y.reshape(T, N, layer.spec.directions, layer.hidden_size)
    if batch_first:
        arrays = [array.transpose(1, 0, 2) for array in arrays]
        return (y.transpose(1, 0, 2, 3), *arrays), kept
    return (y.transpose(0, 2, 1, 3), *arrays), kept


def _read_state(layer: Any, h: Any, c: Any, batch: int, batch_first: bool) -> Any:
    if h is None and c is None:
        return None
    zeros = np.zeros((layer.spec.directions, batch, layer.hidden_size), layer.dtype)

    def placed(state: Any) -> Array:
        if state is None:
            return zeros
        result: Array = state.transpose(1, 0, 2) if batch_first and state.ndim == 3 else state
        return result

    return LSTMState(placed(h), placed(c)) if layer.cell.has_c else placed(h)


def backward_recurrent(
    kept: NodeTape, douts: list[Any], *, input_gradient: bool
) -> tuple[Any, Any, Any]:
    """Add into the layer's gradients; return those of X, initial_h and initial_c."""
    layer, lengths = kept.layer, kept.lengths
    batch_first = kept.attributes.get("layout", 0) == 1
    backwards = kept.attributes.get("direction") == "reverse"
    dy, dh, dc = [*douts, None, None][:3]
    if dy is not None:
        dy = dy.transpose(1, 0, 2, 3) if batch_first else dy.transpose(0, 2, 1, 3)
        dy = np.ascontiguousarray(dy).reshape(*dy.shape[:2], -1)
        dy = reversed_steps(dy, lengths) if backwards else dy
    if batch_first:
        dh, dc = (None if each is None else each.transpose(1, 0, 2) for each in (dh, dc))
    dlast: Any = dh
    if layer.cell.has_c and not (dh is None and dc is None):
        some = dh if dh is not None else dc
        nothing = np.zeros(some.shape, some.dtype)
        dlast = LSTMState(nothing if dh is None else dh, nothing if dc is None else dc)
    dx, dfirst = layer.backward(kept.tape, dy, dlast, input_gradient=input_gradient)
    if dx is not None:
        dx = reversed_steps(dx, lengths) if backwards else dx
        dx = dx.transpose(1, 0, 2) if batch_first else dx
    first = list(dfirst) if isinstance(dfirst, tuple) else [dfirst, None]
    if batch_first:
        first = [None if each is None else each.transpose(1, 0, 2) for each in first]
    return dx, first[0], first[1]


def reversed_steps(x: Array, lengths: Lengths | None) -> Array:
    """Return (T, B, D) with the valid steps of each sequence in reverse, the others as zeros."""
    if lengths is None:
        return np.ascontiguousarray(x[::-1])
    T, batch, _ = x.shape
    at = lengths[None, :] - 1 - np.arange(T)[:, None]
    result: Array = x[np.maximum(at, 0), np.arange(batch)]
    valid = valid_steps(T, lengths)
    return result if valid is None else np.where(valid.T[:, :, None], result, x.dtype.type(0))
