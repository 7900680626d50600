"""Options, selection and the one fixture of the pytest-benchmark files."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import peers
from bench.jobs import Answer, UnsupportedError, disagreement, own_tolerance
from bench.problems import BLOCKS, AnyProblem, select
from bench.timing import calls_for
from bench.workload import make

THREADS = 1
ROUNDS = 5
SAMPLE_SECONDS = 0.002
Measure = Callable[..., None]
"""The fixture `measure`: (problem, mode, peer, precision=None) -> None."""
REFERENCES = ("torch", "ONNX Runtime", "rnncore")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-problems", action="store_true", help="the whole table, not its small selection"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every problem of the module's MODES and every library that might run it."""
    if "peer" not in metafunc.fixturenames:
        return
    small = not metafunc.config.getoption("--all-problems")
    pairs = select(BLOCKS, None, metafunc.module.MODES, default_only=small)
    cases = [
        pytest.param(problem, mode, peer, id=f"{problem.id}-{mode}-{peer.replace(' ', '_')}")
        for problem, mode in pairs
        for peer in peers.candidates(problem, mode)
    ]
    metafunc.parametrize(("problem", "mode", "peer"), cases)


@lru_cache(maxsize=4)  # tests of one problem follow each other
def _answer(peer: str, problem: AnyProblem, mode: str) -> Answer:
    job = peers.build(peer, problem, mode, make(problem), THREADS)
    return job.answer(job.run())


def _assert_answer(
    peer: str, problem: AnyProblem, mode: str, answer: Answer, tolerance: float
) -> None:
    """Compare with the first other library that runs the problem; skip where there is none."""
    for reference in REFERENCES:
        if reference == peer:
            continue
        try:
            expected = _answer(reference, problem, mode)
        except UnsupportedError:
            continue
        assert not disagreement(answer, expected, tolerance)
        return
    pytest.skip("no second library is installed to compare the answer with")


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Measure:
    """Run one library on one problem: assert its answer, then time it in the problem's group."""

    def run(problem: AnyProblem, mode: str, peer: str, precision: str | None = None) -> None:
        peers.set_threads(THREADS)
        if precision:
            peers.load("rnncore").set_precision(precision)
            request.addfinalizer(lambda: peers.load("rnncore").set_precision("highest"))
        try:
            job = peers.build(peer, problem, mode, make(problem), THREADS)
        except UnsupportedError as reason:
            pytest.skip(str(reason))
        tolerance = own_tolerance(problem, mode, precision or "highest")
        _assert_answer(peer, problem, mode, job.answer(job.run()), tolerance)
        benchmark.group = f"{problem.id} {mode}"
        benchmark.name = f"{peer} {precision}" if precision else peer
        calls = calls_for(job.run, SAMPLE_SECONDS)
        benchmark.pedantic(job.run, rounds=ROUNDS, iterations=calls, warmup_rounds=1)

    return run
