"""rnncore's faster, less exact float32 products: their answers stay within their bounds."""

from __future__ import annotations

import pytest

from bench.conftest import Measure
from bench.jobs import PRECISIONS
from bench.problems import AnyProblem, select

PAIRS = [
    pytest.param(problem, mode, id=f"{problem.id}-{mode}")
    for problem, mode in select(["everyday"], ["lstm", "gru"], default_only=True)
    if problem.id in ("lstm-H128-B32-T50", "gru-H128-B32-T50")
]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("problem", "mode"), PAIRS)
def test_precision(measure: Measure, problem: AnyProblem, mode: str, precision: str) -> None:
    measure(problem, mode, "rnncore", precision)
