"""The processes that bench/ starts answer, report errors, and never outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench/ is not part of the package

from bench.jobs import UnsupportedError  # noqa: E402
from bench.processes import Child, busy  # noqa: E402

pytestmark = pytest.mark.once

SERVE = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from bench import jobs, processes
def refuse():
    raise jobs.UnsupportedError("no such cell")
def fail():
    print("a library talks")
    raise ValueError("boom")
processes.serve({{"add": lambda a, b: a + b, "refuse": refuse, "fail": fail, "exit": os._exit}})
"""


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pids: list[int]) -> list[int]:
    """The processes that still run after ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end and any(map(alive, pids)):
        time.sleep(0.01)
    return [pid for pid in pids if alive(pid)]


def test_a_child_answers_and_names_what_went_wrong() -> None:
    child = Child([sys.executable, "-c", SERVE])
    try:
        assert child.ask("add", 2, 3) == 5
        with pytest.raises(UnsupportedError, match="no such cell"):
            child.ask("refuse")
        with pytest.raises(RuntimeError, match="ValueError: boom"):
            child.ask("fail")
        assert child.ask("add", "a", "b") == "ab"
        with pytest.raises(RuntimeError, match="its process ended with status 7"):
            child.ask("exit", 7)
    finally:
        child.close()


def test_neighbours_end_with_their_block() -> None:
    with busy(2) as pids:
        assert len(pids) == 2
        assert all(map(alive, pids))
    assert wait_for_end(pids) == []
    with pytest.raises(ZeroDivisionError), busy(1) as pids:
        print(1 / 0)
    assert wait_for_end(pids) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_neighbours_end_with_whoever_started_them(number: signal.Signals) -> None:
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\nfrom bench.processes import busy\n"
    )
    code += "with busy(2) as pids:\n    print(*pids, flush=True)\n    time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        os.kill(process.pid, number)
        process.wait(timeout=30)
    assert wait_for_end(pids) == []
