"""Calls of the closed loop's raw binding: flat arguments by name, outputs prefilled with NaN.

The entries of the lists of layers, tapes and gradients stand here as single arguments, named as the
binding's errors name them: "weight_ih of layer 0".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from output_reference import Array, Layer, Problem, Result
from raw import UNIT_PARAMETERS, batch_major, nan_like, unit_gradient, unit_parameters

NESTED = {
    "layers": ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    "tapes": ("gates", "h", "c"),
    "dlayers": ("dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"),
}
ARGUMENTS = {
    "closed_loop_forward": (
        *("cell", "x", "layers", "weight_oh", "weight_ho", "weight_oo", "bias_o", "activation"),
        *("delays", "targets", "teacher_forcing", "h_0", "c_0", "y_0", "lengths", "reverse"),
        *("y", "h_n", "c_n", "y_n", "tapes", "tape_y", "tape_fed", "resets", "reset_to"),
    ),
    "closed_loop_backward": (
        *("cell", "x", "layers", "weight_oh", "weight_ho", "weight_oo", "bias_o", "activation"),
        *("delays", "teacher_forcing", "lengths", "reverse", "tapes", "tape_y", "tape_fed"),
        *("dy", "dh_n", "dc_n", "dy_n", "dx", "dh_0", "dc_0", "dy_0"),
        *("dlayers", "dweight_oh", "dweight_ho", "dweight_oo", "dbias_o", "resets", "reset_to"),
    ),
}
READOUT = ("weight_oh", "weight_ho", "weight_oo", "bias_o")
TAPE = ("tapes", "tape_y", "tape_fed")
GROUPS = {
    "closed_loop_forward": {
        "readout": READOUT,
        "state_0": ("h_0", "c_0", "y_0"),
        "state_n": ("h_n", "c_n", "y_n"),
        "tape": TAPE,
    },
    "closed_loop_backward": {
        "readout": READOUT,
        "tape": TAPE,
        "dstate_n": ("dh_n", "dc_n", "dy_n"),
        "dstate_0": ("dh_0", "dc_0", "dy_0"),
        "dreadout": tuple(f"d{name}" for name in READOUT),
    },
}
"""The arrays that travel together, by function and by the group's name."""
LAST = ("y", "h_n", "c_n", "y_n")


def flat_names(function: str, layers: int) -> list[str]:
    """Names of the arguments, those of the lists layer by layer."""
    names = []
    for name in ARGUMENTS[function]:
        if name in NESTED:
            names += [f"{own} of layer {k}" for k in range(layers) for own in NESTED[name]]
        else:
            names.append(name)
    return names


def of_layer(arguments: dict[str, Any], k: int) -> dict[str, Any]:
    """The arguments of layer k by their names in it."""
    suffix = f" of layer {k}"
    return {n.removesuffix(suffix): v for n, v in arguments.items() if n.endswith(suffix)}


def base(name: str) -> str:
    """What kind of array an argument is: its name without the layer."""
    return name.split(" of ")[0]


def nested(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with their lists; a list none of whose entries is there is None."""
    K = sum(base(name) == "weight_ih" for name in arguments)
    values = {}
    for name in ARGUMENTS[function]:
        if name not in NESTED:
            values[name] = arguments[name]
        elif f"{NESTED[name][0]} of layer 0" in arguments:
            values[name] = [_entry(name, of_layer(arguments, k)) for k in range(K)]
        else:
            values[name] = None
    return values


def _entry(kind: str, arguments: dict[str, Any]) -> tuple[Any, ...]:
    """One layer's entry of a list: a cell's unit parameters stand behind its weights."""
    own = {"layers": UNIT_PARAMETERS, "dlayers": {f"d{name}" for name in UNIT_PARAMETERS}}
    names = [name for name in arguments if name in own.get(kind, ())]
    return tuple(arguments[name] for name in (*NESTED[kind], *names))


def grouped(function: str, values: dict[str, Any]) -> dict[str, Any]:
    """The result of `nested` as the binding takes it; of forward a tape without arrays is None."""
    groups = GROUPS[function]
    together = {name for names in groups.values() for name in names}
    result = {name: value for name, value in values.items() if name not in together}
    for group, names in groups.items():
        result[group] = tuple(values[name] for name in names)
    if function == "closed_loop_forward" and all(value is None for value in result["tape"]):
        result["tape"] = None
    return result


def call(core: Any, function: str, arguments: dict[str, Any]) -> None:
    getattr(core, function)(**grouped(function, nested(function, arguments)))


def lay_out(p: Problem) -> Problem:
    """The problem with x, targets and dy batch-major; y and dx follow them."""
    targets = None if p.targets is None else batch_major(p.targets)
    return p._replace(x=batch_major(p.x), targets=targets, dy=batch_major(p.dy))


def _of_layers(kind: str, entries: Any) -> dict[str, Any]:
    return {
        f"{name} of layer {k}": value
        for k, values in enumerate(entries)
        for name, value in zip(NESTED[kind], values, strict=True)
    }


def _parameters(kind: str, cell: str, layers: Iterable[Layer]) -> dict[str, Any]:
    """Parameters of the layers, or arrays for their gradients, by name."""
    layers = tuple(layers)
    prefix = "d" if kind == "dlayers" else ""
    own = {
        f"{prefix}{name} of layer {k}": value
        for k, layer in enumerate(layers)
        for name, value in unit_parameters(cell, layer.unit_parameters).items()
    }
    return _of_layers(kind, (layer[:4] for layer in layers)) | own


def _tape(core: Any, p: Problem) -> dict[str, Any]:
    T, B, _ = p.x.shape
    D, _, O = p.y_0.shape  # noqa: E741
    H, F = p.h_0.shape[2], O * len(p.delays)
    slots = len({row["name"]: row["wiring"] for row in core.cells()}[p.cell])
    valid = np.arange(T)[:, None] < (np.full(B, T) if p.lengths is None else p.lengths)
    N, R = int(valid.sum()), B
    if p.resets is not None:
        R += int((p.resets & valid)[1:].sum())

    def nan(*shape: int) -> Array:
        return np.full(shape, np.nan, p.x.dtype)

    layers = [
        (
            nan(N, slots * H),
            nan(N + R, H + (0 if k else F)),
            None if p.c_0 is None else nan(N + R, H),
        )
        for k in range(len(p.layers))
    ]
    return _of_layers("tapes", layers) | {"tape_y": nan(N, O), "tape_fed": nan(D * R + N, O)}


def forward_arguments(core: Any, p: Problem, training: bool = True) -> dict[str, Any]:
    """Arguments of core.closed_loop_forward by name; without training no tape."""
    found = {name: value for name, value in p._asdict().items() if name != "layers"}
    found["delays"] = list(p.delays)
    found["lengths"] = None if p.lengths is None else p.lengths.astype(np.int64)
    found |= _parameters("layers", p.cell, p.layers)
    found |= dict(zip(LAST, map(nan_like, (p.dy, p.h_0, p.c_0, p.y_0)), strict=True))
    found |= _tape(core, p) if training else {"tape_y": None, "tape_fed": None}
    return _in_order("closed_loop_forward", len(p.layers), found)


def backward_arguments(p: Problem, forward: dict[str, Any]) -> dict[str, Any]:
    """Arguments of core.closed_loop_backward by name, with the tape of a forward call."""
    found = p._asdict() | forward
    found |= {f"d{name}": nan_like(found[name]) for name in ("x", "h_0", "c_0", "y_0")}
    found |= _parameters("dlayers", p.cell, (Layer(*map(_zeros, layer)) for layer in p.layers))
    for name in ("weight_oh", "weight_ho", "weight_oo", "bias_o"):
        found["d" + name] = _zeros(found[name])
    return _in_order("closed_loop_backward", len(p.layers), found)


def _in_order(function: str, layers: int, found: dict[str, Any]) -> dict[str, Any]:
    """What is there of a function's arguments, then the unit parameters."""
    names = [name for name in flat_names(function, layers) if name in found]
    own = [n for n in found if base(n) in UNIT_PARAMETERS or base(n)[1:] in UNIT_PARAMETERS]
    return {name: found[name] for name in (*names, *own)}


def _zeros(array: Array | None) -> Array | None:
    return None if array is None else np.zeros(array.shape, array.dtype)


def infer(core: Any, p: Problem) -> tuple[Any, ...]:
    """y, h_n, c_n, y_n without a tape."""
    arguments = forward_arguments(core, p, training=False)
    call(core, "closed_loop_forward", arguments)
    return tuple(arguments[name] for name in LAST)


def solve(core: Any, p: Problem) -> Result:
    """Forward with a tape, then backward."""
    forward = forward_arguments(core, p)
    call(core, "closed_loop_forward", forward)
    backward = backward_arguments(p, forward)
    call(core, "closed_loop_backward", backward)
    return result(forward | backward, len(p.layers))


def result(arguments: dict[str, Any], layers: int) -> Result:
    """What calls with these arguments have written."""
    found = {name: arguments[name] for name in Result._fields if name != "dlayers"}
    dlayers = tuple(
        Layer(*(own[name] for name in NESTED["dlayers"]), unit_gradient(own))
        for own in (of_layer(arguments, k) for k in range(layers))
    )
    return Result(**found, dlayers=dlayers)
