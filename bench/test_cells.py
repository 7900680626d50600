"""One time step from Python, and closed-loop generation: what streaming costs."""

from __future__ import annotations

from collections.abc import Callable

from bench.problems import AnyProblem

MODES = (
    "step",
    "generation",
)


def test_cell(
    measure: Callable[[AnyProblem, str, str], None], problem: AnyProblem, mode: str, peer: str
) -> None:
    measure(problem, mode, peer)
