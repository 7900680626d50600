"""In a build with a sanitizer: it is at work, so that a run without a report says something."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sanitizers
from rnncore._native import isa as _isa

pytestmark = pytest.mark.once

FAULTS = importlib.util.find_spec("rnncore._native._faults")
KERNELS = Path(str(_isa.core.__file__)).read_bytes()
IN_USE = next((kind for kind in ("asan", "tsan") if b"__%s_init" % kind.encode() in KERNELS), "")

address = pytest.mark.skipif(IN_USE != "asan", reason="sanitizer: no build with ASan")
thread = pytest.mark.skipif(IN_USE != "tsan", reason="sanitizer: no build with TSan")


def start(code: str) -> subprocess.CompletedProcess[str]:
    """A process that runs the code; what is reported goes to its stderr, not among the findings."""
    options = {
        name: os.environ.get(name, "") + ":log_path=stderr"
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS")
    }
    return subprocess.run(
        [sys.executable, "-c", "from rnncore._native import _faults\n" + code],
        env=os.environ | options,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def report(code: str) -> str:
    """What such a process says that does not end well."""
    done = start(code)
    assert done.returncode != 0, (done.stdout, done.stderr)
    return done.stderr


def test_faults_are_in_builds_with_a_sanitizer_alone() -> None:
    assert (FAULTS is not None) == (IN_USE != "")


@address
@pytest.mark.parametrize("module", ["asan", "ubsan"])
def test_the_kernels_are_checked(module: str) -> None:
    """The functions that the compiler calls at each access, and at what is undefined."""
    assert {"asan": b"__asan_report_store", "ubsan": b"__ubsan_handle"}[module] in KERNELS


@address
@pytest.mark.parametrize("at", [-1, 12, 13])
def test_a_write_beside_an_array_of_numpy_is_reported(at: int) -> None:
    code = f"import numpy as np\n_faults.write(np.zeros(3, np.float32), {at})"
    assert "AddressSanitizer: heap-buffer-overflow" in report(code)


@address
@pytest.mark.parametrize("at", [17, 18, 32, 47])
def test_a_write_beside_an_array_of_an_arena_is_reported(at: int) -> None:
    """Also into what fills up its last cache line, and on to the next array."""
    assert "AddressSanitizer: use-after-poison" in report(f"_faults.write_arena({at})")


@address
def test_arithmetic_that_is_undefined_is_reported() -> None:
    assert "runtime error: signed integer overflow" in report("_faults.overflow()")


@address
def test_what_is_right_is_not_reported() -> None:
    done = start(
        "import numpy as np\n_faults.write(np.zeros(3, np.float32), 11)\n"
        "assert _faults.write_arena(16) == 48"
    )
    assert (done.returncode, done.stderr) == (0, "")


@thread
def test_a_race_is_reported() -> None:
    code = (
        "import threading\n"
        "both = [threading.Thread(target=_faults.count, args=(10**6,)) for _ in range(2)]\n"
        "for one in both:\n    one.start()\nfor one in both:\n    one.join()\n"
    )
    assert "ThreadSanitizer: data race" in report(code)


def test_a_refusal_of_memory_is_no_report(tmp_path: Path) -> None:
    refused = f"==7==WARNING: {sanitizers.REFUSED} 0xc0000000000 bytes\n"
    (tmp_path / "report.7").write_text(refused)
    (tmp_path / "report.8").write_text(f"{refused}ERROR: AddressSanitizer: SEGV\n{refused}")
    found = sanitizers.reports_of(tmp_path)
    assert found == {tmp_path / "report.8": "ERROR: AddressSanitizer: SEGV"}
