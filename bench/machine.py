"""The machine: its CPU, its compiler, and the rate of its multiply-adds."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FLAGS = {
    "base": ["-march=x86-64-v2"],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4"],
    "amx": ["-march=x86-64-v4", "-mamx-tile", "-mamx-bf16", "-mavx512bf16"],
}
"""Instruction sets of the variants, as CMakeLists.txt has them."""

_PACKET_BYTES = {"base": 16, "avx2": 32}
_FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve")
_LOOPS = 400_000
"""About 1 to 3 ms for each thread: shorter than what the system takes a core away for."""


def cpu() -> tuple[str, list[str]]:
    """Name of the CPU and which of the vector features it has, as the kernel lists them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), []
    values = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = values.get("flags", values.get("Features", "")).split()
    return values.get("model name", platform.machine()), [f for f in _FEATURES if f in flags]


def compiler() -> str | None:
    """Return the C++ compiler: CXX, g++ or c++; None where there is none."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")


def build_multiply_add(isa: str, folder: Path) -> Path:
    """Compile multiply_add.cpp for a variant's registers; those with AMX have avx512's.

    Raises
    ------
    RuntimeError
        If there is no compiler, or it fails.
    """
    found = compiler()
    if found is None:
        raise RuntimeError("no C++ compiler found: install g++ or set CXX")
    library = folder / "multiply_add.so"
    flags = ["-O3", "-shared", "-fPIC", f"-DPACKET_BYTES={_PACKET_BYTES.get(isa, 64)}"]
    flags += FLAGS.get(isa, FLAGS["avx512"])
    source = Path(__file__).parent / "multiply_add.cpp"
    command = [found, *flags, str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{found} failed: {done.stderr.strip()}")
    return library


class MultiplyAdd:
    """The loop of multiply_add.cpp for one variant; raises as `build_multiply_add` does."""

    def __init__(self, isa: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            library = build_multiply_add(isa, Path(folder))
            self._rate = ctypes.CDLL(str(library)).multiply_add_rate
        self._rate.argtypes, self._rate.restype = [ctypes.c_int64], ctypes.c_double

    def rate(self, threads: int, tries: int = 20) -> float:
        """Best of some tries, flop/s of all threads together."""
        with ThreadPoolExecutor(threads) as pool:
            each = [sum(pool.map(self._rate, [_LOOPS] * threads)) for _ in range(tries)]
        return max(each)
