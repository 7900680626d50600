"""Code that runs in a Python process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

# Seconds, on a busy machine. On a build with a sanitizer everything takes longer.
PATIENCE = 240 * int(os.environ.get("RNNCORE_TESTS_SLOWER", "1"))

# Arrays of any size that take no memory, and what their use must come to. Without the limit a
# system that promises more memory than it has (vm.overcommit_memory = 1) ends the process.
HUGE_ARRAYS = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, resource.RLIM_INFINITY))
import numpy as np, rnncore
from numpy.lib.stride_tricks import as_strided
def zeros(*shape):
    return as_strided(np.zeros(1, np.float32), shape, (0,) * len(shape))
def expect_memory_error(call):
    try:
        call()
    except MemoryError:
        return
    raise SystemExit("no MemoryError")
"""

# `wait_for(child)`: its exit status, or None of one that goes on and on, which is killed.
# `ends_well(work)`: forks; whether work() is true in the child.
FORK = f"""
import os, time
def wait_for(child):
    end = time.monotonic() + {PATIENCE // 4}
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
def ends_well(work):
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return wait_for(child) == 0
"""


def process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """How the code ends; it must within some minutes, on a busy machine too."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def run(code: str, **environment: str) -> str:
    """What the code prints; it must end well, within some minutes."""
    done = process(code, **environment)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def script(
    *arguments: str, patience: int = PATIENCE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """How Python ends with these arguments, a script's path first; it imports what tests do."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
