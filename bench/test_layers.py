"""Forward passes of whole layers, inference."""

from __future__ import annotations

from collections.abc import Callable

from bench.problems import AnyProblem

MODES = ("inference",)


def test_layer(
    measure: Callable[[AnyProblem, str, str], None], problem: AnyProblem, mode: str, peer: str
) -> None:
    measure(problem, mode, peer)
