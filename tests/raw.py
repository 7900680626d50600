"""Calls of the raw binding: flat arguments by name, every output prefilled with NaN.

A cell's unit parameters are arguments by their own names, behind the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import reference
from problems import Array, Problem, Result

FORWARD_ARGUMENTS = (
    *("cell", "x", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    *("lengths", "reverse", "y", "h_n", "c_n", "gates", "h", "c", "recompute", "cache"),
    *("fed", "weight_oh", "batch_invariant", "resets", "reset_to", "noise"),
)
BACKWARD_ARGUMENTS = (
    *("cell", "x", "weight_ih", "weight_hh", "lengths", "reverse", "gates", "h", "c"),
    *("dy", "dh_n", "dc_n", "dx", "dh_0", "dc_0"),
    *("dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"),
    *("bias_ih", "bias_hh", "recompute", "fed", "weight_oh", "dfed", "dweight_oh"),
    *("resets", "reset_to", "noise"),
)
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
GROUPS = {
    "forward": {
        "weights": WEIGHTS,
        "state_0": ("h_0", "c_0"),
        "state_n": ("h_n", "c_n"),
        "feedback": ("fed", "weight_oh"),
        "tape": ("gates", "h", "c"),
    },
    "backward": {
        "weights": WEIGHTS,
        "tape": ("gates", "h", "c"),
        "dstate_n": ("dh_n", "dc_n"),
        "dstate_0": ("dh_0", "dc_0"),
        "gradients": tuple(f"d{name}" for name in WEIGHTS),
        "feedback": ("fed", "weight_oh"),
        "dfeedback": ("dfed", "dweight_oh"),
    },
}
"""The arrays that travel together, by function and by the group's name."""
UNIT_PARAMETERS = {name for cell in reference.CELLS.values() for name in cell.unit_parameters}


def unit_parameters(cell: Any, rows: Array | None) -> dict[str, Array]:
    """A cell's unit parameters by name, out of the rows (P, H) of all of them."""
    result = {}
    for name, letters in reference.cell_of(cell).unit_parameters.items():
        assert rows is not None
        result[name], rows = rows[: len(letters)], rows[len(letters) :]
    return result


def unit_gradient(arguments: dict[str, Any]) -> Array | None:
    """The rows of the gradients of all unit parameters among the arguments."""
    names = [name for name in arguments if name.startswith("d") and name[1:] in UNIT_PARAMETERS]
    return np.concatenate([arguments[name] for name in names]) if names else None


def with_unit_parameters(
    groups: dict[str, tuple[str, ...]], names: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """The groups, the weights and their gradients with the unit parameters among `names`."""
    own = {"weights": tuple(name for name in names if name in UNIT_PARAMETERS)}
    own["gradients"] = tuple(f"d{name}" for name in own["weights"])
    return {group: members + own.get(group, ()) for group, members in groups.items()}


def grouped(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the binding takes them; of forward a tape without arrays is None."""
    groups = with_unit_parameters(GROUPS[function], arguments)
    together = {name for names in groups.values() for name in names}
    result = {name: value for name, value in arguments.items() if name not in together}
    for group, names in groups.items():
        result[group] = tuple(arguments[name] for name in names)
    wanted = any(value is not None for value in result.get("tape", ())) or arguments["recompute"]
    if function == "forward" and not wanted:
        result["tape"] = None
    return result


def call(core: Any, function: str, arguments: dict[str, Any]) -> None:
    """Call core.forward or core.backward with flat arguments by name."""
    getattr(core, function)(**grouped(function, arguments))


def nan_like(array: Array | None) -> Array | None:
    """An array of NaN in the memory layout of `array`."""
    return None if array is None else np.full_like(array, np.nan)


def batch_major(array: Array) -> Array:
    """The same (T, B, D) array with batch as the outer dimension of its memory."""
    return np.ascontiguousarray(array.transpose(1, 0, 2)).transpose(1, 0, 2)


def lay_out(problem: Problem) -> Problem:
    """The problem with x and dy batch-major; outputs follow their layout."""
    return problem._replace(x=batch_major(problem.x), dy=batch_major(problem.dy))


def slots(core: Any, cell: Any) -> int:
    """Tape slots per unit."""
    name = cell if isinstance(cell, str) else cell[0]
    return len({row["name"]: row["wiring"] for row in core.cells()}[name])


def tape(core: Any, problem: Problem, recompute: int = 0) -> dict[str, Array | None]:
    """Tape arrays of NaN: gates (N, S*H), h and c (N + R, H), or what `recompute` leaves."""
    B, H = problem.h_0.shape
    gates = None
    if recompute:
        states = sum(
            core.segments(
                *(problem.cell, problem.x, problem.weight_hh, int64_lengths(problem), recompute),
                problem.resets,
            )
        )
    else:
        rows = int(problem.steps.sum())
        states = rows + B
        if problem.resets is not None:
            states += int((problem.resets & problem.valid)[1:].sum())
        gates = np.full((rows, slots(core, problem.cell) * H), np.nan, problem.x.dtype)
    h = np.full((states, H), np.nan, problem.x.dtype)
    return {"gates": gates, "h": h, "c": None if problem.c_0 is None else h.copy()}


def int64_lengths(problem: Problem) -> Array | None:
    """A copy of the lengths as the binding takes them."""
    return None if problem.lengths is None else problem.lengths.astype(np.int64)


def forward_arguments(
    core: Any, problem: Problem, training: bool = True, recompute: int = 0, noise: Any = None
) -> dict[str, Any]:
    """Arguments of core.forward by name; `noise` is that of the binding."""
    arguments = problem._asdict()
    arguments.update(
        lengths=int64_lengths(problem),
        recompute=recompute,
        cache=None,
        fed=None,
        weight_oh=None,
        batch_invariant=False,
        noise=noise,
        y=nan_like(problem.dy),
        h_n=nan_like(problem.h_0),
        c_n=nan_like(problem.c_0),
        **(tape(core, problem, recompute) if training else dict.fromkeys(("gates", "h", "c"))),
    )
    own = unit_parameters(problem.cell, problem.unit_parameters)
    return {name: arguments[name] for name in FORWARD_ARGUMENTS} | own


def backward_arguments(problem: Problem, forward: dict[str, Any]) -> dict[str, Any]:
    """Arguments of core.backward by name, with the tape of a forward call."""
    shared = {
        k: forward[k]
        for k in ("lengths", "gates", "h", "c", "recompute", "fed", "weight_oh", "noise")
    }
    arguments = {**problem._asdict(), **shared, "dfed": None, "dweight_oh": None}
    for name in ("x", "h_0", "c_0"):
        arguments["d" + name] = nan_like(getattr(problem, name))
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        value = getattr(problem, name)
        arguments["d" + name] = None if value is None else np.zeros_like(value)
    own = unit_parameters(problem.cell, problem.unit_parameters)
    gradients = {f"d{name}": np.zeros_like(value) for name, value in own.items()}
    return {name: arguments[name] for name in BACKWARD_ARGUMENTS} | own | gradients


def infer(core: Any, problem: Problem, noise: Any = None) -> tuple[Array, Array, Array | None]:
    """y, h_n, c_n without a tape."""
    arguments = forward_arguments(core, problem, training=False, noise=noise)
    call(core, "forward", arguments)
    return arguments["y"], arguments["h_n"], arguments["c_n"]


def solve(core: Any, problem: Problem, recompute: int = 0, noise: Any = None) -> Result:
    """Forward with a tape, then backward."""
    forward = forward_arguments(core, problem, recompute=recompute, noise=noise)
    call(core, "forward", forward)
    backward = backward_arguments(problem, forward)
    call(core, "backward", backward)
    both = {**forward, **backward, "dunit_parameters": unit_gradient(backward)}
    return Result(**{name: both[name] for name in Result._fields})


def same_bits(a: Any, b: Any) -> bool:
    """True when two arrays (or None) hold the same bytes."""
    return (a is None and b is None) or a.tobytes() == b.tobytes()
