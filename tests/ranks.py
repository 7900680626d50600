"""Scripts that run as several ranks of MPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def launcher() -> str:
    """The mpiexec beside this Python, or of the machine; skips the test where there is none."""
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("no mpiexec (pip install rnncore[mpi])")
    return found


def mpiexec(
    count: int, *arguments: object, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run Python with some arguments as so many ranks; an error if that takes too long."""
    command = [launcher(), "-n", count, sys.executable, "-X", "faulthandler", *arguments]
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """What children see: this package, and the modules that tests share."""
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
