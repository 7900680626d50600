"""Two threads give the bits of one beside other work on the machine and in the process.

Of each variant the threads are the same code, so one run is enough.
"""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench/ is not part of the package

from bench import peers, stress  # noqa: E402
from bench.jobs import Job  # noqa: E402

pytestmark = pytest.mark.once

SECONDS = 20


def test_the_bits_are_those_of_one_quiet_thread_beside_other_work() -> None:
    """In a process of its own, since this one's thread counts are other tests'."""
    load = "both" if importlib.util.find_spec("torch") else "busy"
    command = [sys.executable, str(ROOT / "bench" / "stress.py"), "--loads", load]
    command += ["--seconds", str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = [line for line in done.stdout.splitlines() if line.startswith("| lstm-H24-B1-T200 |")]
    assert len(rows) == 1


def test_a_wrong_bit_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = [np.zeros(3), np.ones(3)]
    jobs = [Job(array.copy, lambda y: {"y": y, "h_n": np.zeros(1)}) for array in arrays]
    case = stress.Case("a problem", jobs)
    monkeypatch.setattr(stress, "cases", lambda: [case])
    monkeypatch.setattr(stress, "VISIT_SECONDS", 1e-3)
    monkeypatch.setattr(peers.load("rnncore"), "set_threads", lambda threads: None)
    arguments = ["--loads", "busy", "--seconds", "0.01"]
    assert stress.main(arguments) == 0
    assert capsys.readouterr().err == ""
    arrays[1][2] = np.nextafter(1.0, 2.0)
    assert stress.main(arguments) == 1
    assert "not the bits of one quiet thread: busy: a problem, threads 2: y\n" in (
        capsys.readouterr().err
    )


def test_inputs_take_turns() -> None:
    """The memory of the call before must not hold the right answer already."""
    seen: list[int] = []
    jobs = [Job(lambda n=n: seen.append(n), lambda _: {}) for n in (0, 1)]
    case = stress.Case("a problem", jobs)
    seen.clear()
    case.visit(2)
    case.visit(2)
    assert len(seen) > 2
    assert all(a != b for a, b in itertools.pairwise(seen))
