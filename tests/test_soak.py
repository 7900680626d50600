"""The soak's own judgement: what grows is named, what does not is not; and its shortest run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import child
import numpy as np
import pytest
import soak

pytestmark = pytest.mark.once


def laps(memory: Any, files: Any = 6, threads: Any = 2) -> list[tuple[float, int, int]]:
    columns = np.broadcast_arrays(memory, files, threads)
    return [(float(m), int(f), int(t)) for m, f, t in zip(*columns, strict=True)]


def test_what_stays_is_not_named() -> None:
    rng = np.random.default_rng(0)
    warm = np.concatenate([np.linspace(100, 300, 25), 300 + rng.normal(0, 2, 75)])
    assert soak.verdict(laps(warm)) == []
    assert soak.verdict(laps(np.linspace(300, 250, 100), files=7)) == []


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (laps(300 + 0.5 * np.arange(100)), "memory rose by 37.0 MB"),
        (laps(np.full(100, 300.0), files=6 + np.arange(100) // 30), "open files rose from 6 to 9"),
        (laps(np.full(100, 300.0), threads=np.arange(100) > 50), "threads rose from 0 to 1"),
    ],
)
def test_what_grows_is_named(seen: Any, text: str) -> None:
    assert soak.verdict(seen) == [text]


@pytest.mark.parametrize("leak", ["files", "bits"])
def test_a_planted_leak_is_noticed(leak: str, tmp_path: Path) -> None:
    """A lap that leaves a file open; one that ends with other bits than a straight run."""
    lines = ["import sys, soak", "kept, sys.argv = [], ['soak', '--minutes', '0']"]
    lines += ["soak.straight = lambda: {'model': 'bits'}"]
    lines += ["def lap(folder):", "    if LEAK == 'files': kept.append(open(__file__))"]
    lines += ["    return {'model': 'bits' if LEAK == 'files' else 'others'}"]
    lines += ["soak.lap = lap", "sys.exit(soak.main())"]
    script = tmp_path / "planted.py"
    script.write_text("\n".join(lines).replace("LEAK", repr(leak)))
    done = child.script(str(script))
    said = {"files": "open files rose from", "bits": "lap 1: model: other bits than before"}
    assert done.returncode == 1, done.stdout + done.stderr
    assert said[leak] in done.stdout


@pytest.mark.slow
def test_four_laps_end_with_the_bits_of_a_straight_run() -> None:
    done = child.script(str(soak.__file__), "--minutes", "0", patience=3 * child.PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "are those of a straight run" in done.stdout
