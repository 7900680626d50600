"""bench/memory.py counts what a training step must keep, and says which library failed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # bench/ is not part of the package

from bench import memory
from bench.problems import Problem

pytestmark = [
    pytest.mark.per_variant,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc"
    ),
]


def test_growth_holds_the_tape_and_little_more() -> None:
    problem = Problem("test", "lstm", 64, 32, 400)
    gates = problem.T * problem.B * 4 * problem.H * 4  # bytes; h, c and y are half of that more
    measured = memory.in_a_process("rnncore", problem, 1)
    assert 1.5 * gates < measured < 3 * gates


def test_a_library_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"rnncore: .*threads"):
        memory.in_a_process("rnncore", Problem("test", "lstm", 5, 2, 3), -1)


def test_table_shows_medians_and_their_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = {"rnncore": iter([2, 9, 1]), "torch": iter([8, 5, 1])}
    monkeypatch.setattr(memory, "in_a_process", lambda name, *_: next(peaks[name]) * 2**20)
    assert memory.main(["--sizes", "7", "3", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| lstm-H7-B3-T5 | 2.0 | 5.0 | 2.50 |"
