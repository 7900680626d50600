"""bench/builds.py times two builds in alternation and prints a line for each problem."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import rnncore

pytestmark = pytest.mark.per_variant

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "builds.py"
FOLDER = str(Path(rnncore.__file__).resolve().parents[1])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), FOLDER, FOLDER, "--repeats", "3", *arguments]
    command += ["--seconds", "0.0001", "--isa", rnncore.isa()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("problems", "name"),
    [
        ("everyday", "gru-H32-B1-T100 training"),
        ("step", "lstm-H32-B1-T1 step"),
        ("fit", "lstm-H16-B16-T20 fit step"),
    ],
)
def test_a_build_beside_itself(problems, name):
    done = run("--problems", problems, "--filter", name)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (line,) = [line for line in lines if line.startswith(name)]
    old, new, ratio = map(float, line.removeprefix(name).split()[:3])
    assert old > 0
    assert new > 0
    assert 0.1 < ratio < 10
    assert f"variant {rnncore.isa()}" in lines[0]
    (mean,) = [line for line in lines if line.startswith("geometric mean of 1: ")]
    assert abs(float(mean.split()[-1]) - ratio) < 0.001
