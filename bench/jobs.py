"""What a library does with one problem: the piece that is timed, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problems import AnyProblem

Array = NDArray[Any]
Answer = dict[str, Array]

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Largest relative L2 difference between two libraries' answers."""

PRECISIONS = {"highest": TOLERANCE["float32"], "high": 1e-4, "medium": 3e-2}
"""rnncore's float32 precisions, and the same bound for its answers at each."""

_KINKED = {"high": 5e-3, "medium": 1e-1}
"""For gradients through relu: where rounding turns the sign of z, all of that gradient goes."""


class UnsupportedError(Exception):
    """A library cannot run a problem; the message is the reason."""


@dataclass(frozen=True)
class Job:
    """One library's way to run one problem.

    Attributes
    ----------
    run : callable
        What is timed; takes nothing, returns the library's own outputs.
    answer : callable
        Turns the result of `run` into arrays by name (y, h_n, c_n and the gradients by the
        parameter's name); not timed.
    """

    run: Callable[[], Any]
    answer: Callable[[Any], Answer]


def own_tolerance(problem: AnyProblem, mode: str, precision: str) -> float:
    """Largest relative L2 difference of rnncore's answer from another library's."""
    if problem.dtype != "float32":
        return TOLERANCE[problem.dtype]
    if problem.cell == "rnn_relu" and mode == "training":
        return _KINKED.get(precision, PRECISIONS[precision])
    return PRECISIONS[precision]


def relative_error(got: Array, expected: Array) -> float:
    """Relative L2 difference in float64; inf where a value is not finite or a shape differs."""
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    wanted = expected.astype(np.float64)
    norm = float(np.linalg.norm(wanted))
    difference = float(np.linalg.norm(got.astype(np.float64) - wanted))
    return difference / norm if norm > 0 else difference


def disagreement(got: Answer, expected: Answer, tolerance: float) -> str:
    """Empty when the answers agree within `tolerance`; else the worst array and its error.

    Raises
    ------
    ValueError
        If the two answers share no array: then nothing would be compared.
    """
    errors = {name: relative_error(got[name], expected[name]) for name in got if name in expected}
    if not errors:
        raise ValueError(f"answers: nothing to compare, {sorted(got)} against {sorted(expected)}")
    worst = max(errors, key=lambda name: errors[name])
    if errors[worst] <= tolerance:
        return ""
    return f"{worst} differs by {errors[worst]:.1e} (relative L2)"
