"""Training steps: forward and backward to every parameter gradient."""

from __future__ import annotations

from collections.abc import Callable

from bench.problems import AnyProblem

MODES = ("training",)


def test_training_step(
    measure: Callable[[AnyProblem, str, str], None], problem: AnyProblem, mode: str, peer: str
) -> None:
    measure(problem, mode, peer)
