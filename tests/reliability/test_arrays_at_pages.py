"""Kernels read and write nothing beyond their arrays, and leave nothing out that they must write.

Buffers end and begin at pages that cannot be touched; what is uninitialised is filled with NaN.
"""

from __future__ import annotations

import sys
from pathlib import Path

import child
import pytest
from rnncore._native import isa as _isa

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32", reason="pages are protected by mprotect"),
]

TESTS = Path(__file__).parents[1]
FINGERPRINTS = str(TESTS / "fingerprints.py")


@pytest.mark.parametrize("isa", _isa.available_isas())
def test_kernels_stay_within_their_arrays(isa: str) -> None:
    """Every cell, loss, optimizer and loop; see the script."""
    done = child.script(str(TESTS / "reliability" / "arrays_at_pages.py"), isa)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["90", "16", "230", "40"]


@pytest.mark.parametrize("end", ["before", "behind"])
def test_a_touch_beyond_is_a_crash(end: str) -> None:
    code = f"""
import ctypes, guard_pages, numpy as np
with guard_pages.GuardPages(at_end={end == "behind"}) as pages:
    array = pages.copy(np.ones((3, 5), np.float32))
    assert array.sum() == 15
    print("so far", flush=True)
    ctypes.c_float.from_address(array.ctypes.data + {60 if end == "behind" else -4}).value
"""
    done = child.script("-c", code)
    assert done.stdout == "so far\n"
    assert done.returncode != 0


def recorded(folder: Path, count: int) -> str:
    """Checksums of what the public API computes, with uninitialised memory as it comes."""
    options = ("--count", str(count))
    done = child.script(FINGERPRINTS, "record", str(folder), *options, RNNCORE_ISA=_isa.isa())
    assert done.returncode == 0, done.stdout + done.stderr
    return str(folder)


def test_what_kernels_write_is_written_whole(tmp_path: Path) -> None:
    """All outputs, tapes and scratch memory are NaN before: the same bits come out."""
    folder = recorded(tmp_path, 20)
    done = child.script(
        FINGERPRINTS, "compare", folder, RNNCORE_ISA=_isa.isa(), RNNCORE_DEBUG="prefill"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 problems, 0 differ, 0 differ in few rows" in done.stdout


@pytest.fixture(scope="module")
def few_problems(tmp_path_factory: pytest.TempPathFactory) -> str:
    return recorded(tmp_path_factory.mktemp("record"), 4)


LEAVE_OUT = """
import sys
from rnncore._native import {module} as module
plain = module.core.{function}
class Core:
    def __getattr__(self, name):
        return getattr(core, name)
    def {function}(self, *arguments):
        array = arguments[{output}]
        array = array[0] if isinstance(array, tuple) else array
        before = array[-1, -1].copy()
        result = plain(*arguments)
        array[-1, -1] = before
        return result
core, module.core = module.core, Core()
import fingerprints
fingerprints.ONE_PROCESS = {{}}
sys.exit(fingerprints.main(["compare", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("module", "function", "output"),
    [("layer", "forward", 4), ("layer", "forward", 5), ("layer", "backward", 7)],
)
def test_what_is_left_out_is_found(
    few_problems: str, module: str, function: str, output: int
) -> None:
    """A kernel that leaves out the last row of y, of h_n, of dh_0."""
    code = LEAVE_OUT.format(module=module, function=function, output=output)
    done = child.script("-c", code, few_problems, RNNCORE_ISA=_isa.isa(), RNNCORE_DEBUG="prefill")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "DIFFERENT" in done.stdout or "FAILED" in done.stdout


def test_a_mode_that_is_not_known() -> None:
    done = child.script("-c", "import rnncore", RNNCORE_DEBUG="nan")
    assert done.returncode == 1
    assert "ImportError: RNNCORE_DEBUG: expected prefill, or nothing, got 'nan'" in done.stderr
