"""Linear layers: the float products everything else is made of."""

from __future__ import annotations

from collections.abc import Callable

from bench.problems import AnyProblem

MODES = ("product",)


def test_product(
    measure: Callable[[AnyProblem, str, str], None], problem: AnyProblem, mode: str, peer: str
) -> None:
    measure(problem, mode, peer)
