"""A script: builds the extension with a sanitizer, and runs the tests of the kernels on it.

    python tests/sanitizers.py address|thread [--short] [--isa base] [PYTEST'S ARGUMENTS ...]

`address` is AddressSanitizer with UndefinedBehaviorSanitizer, `thread` is ThreadSanitizer. Needs
GCC and the build requirements of pyproject.toml. Whatever is reported, also by processes that tests
start, lies in build/<sanitizer>/report.* and is printed at the end; one report, and the script
fails.

The weakest variant is the default: it reads and writes the ends of rows element by element, which
the sanitizers see, where AVX-512 has masked instructions, which they do not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

KERNELS = tuple(f"tests/{room}" for room in ("native", "core", "gemm", "recurrence", "bind"))
CALLERS = tuple(f"tests/{room}" for room in ("losses", "layers", "reliability", "process"))

LIMITED = "it limits the address space, of which a sanitizer reserves terabytes"

# Tests that prove nothing here, each with the reason.
LEFT_OUT = {
    "tests/gemm/test_machine_code.py": "it reads the instructions of an optimised build",
    "tests/native/test_hardening.py": "a build with a sanitizer is not hardened",
    "tests/core/test_team.py::test_threads_that_the_system_cannot_start": LIMITED,
    "tests/process/test_limits.py": LIMITED,
    "tests/layers/test_layer_errors.py::"
    "test_a_memory_limit_raises_memory_error_and_the_process_goes_on": LIMITED,
    "tests/reliability/test_arrays_at_pages.py::test_a_touch_beyond_is_a_crash": "it is one",
    "tests/recurrence/test_accuracy.py": "it takes minutes to look at the last bits of sums",
}


class Sanitizer(NamedTuple):
    """What it runs on: libraries that come first in the process, its options, tests."""

    libraries: tuple[str, ...]
    environment: dict[str, str]
    tests: tuple[str, ...]
    select: str = ""  # of them, as pytest's -k


SANITIZERS = {
    # Leaks are not looked for: the interpreter keeps much till its end, and each block of ours has
    # its frames on the stack too. A block that is too large must be a MemoryError, not the end.
    # libstdc++ comes first, since a library that is loaded later throws through it.
    "address": Sanitizer(
        ("libasan.so", "libstdc++.so.6"),
        {
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:"
            "max_allocation_size_mb=8192",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONMALLOC": "malloc",
        },
        (*KERNELS, *CALLERS),
    ),
    # The engine's own threads meet in atomics, which it understands. The threads of numpy's matrix
    # library are not compiled with it: there are none. After a fork it still counts the threads of
    # the parent, and ends the child that starts one in the same place.
    "thread": Sanitizer(
        ("libtsan.so",),
        {
            "TSAN_OPTIONS": "die_after_fork=0:exitcode=66:history_size=4",
            "OPENBLAS_NUM_THREADS": "1",
        },
        (*KERNELS, *CALLERS),
        "(sanitizer or thread or team or partition or process or race) and not fork",
    ),
}

# In every process: a limit of the address space is no limit here. ASan has one of its own, for each
# block.
SITE = """
import resource
set_limit = resource.setrlimit
def setrlimit(kind, limits):
    if kind != resource.RLIMIT_AS:
        set_limit(kind, limits)
resource.setrlimit = setrlimit
"""

ONE_IN = 16  # tests that the short form runs


def build(name: str, isa: str) -> Path:
    """Compile what has changed; the folder of a package that has these modules alone."""
    folder = ROOT / "build" / name
    prefix = subprocess.check_output([sys.executable, "-m", "pybind11", "--cmakedir"], text=True)
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_COMPILER": os.environ.get("CXX", "g++"),
        "RNNCORE_SANITIZE": name,
        "RNNCORE_VARIANTS": isa,
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": prefix.strip(),
    }
    defined = [f"-D{key}={value}" for key, value in options.items()]
    subprocess.run(["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, *defined], check=True)
    subprocess.run(["cmake", "--build", folder], check=True)
    site = folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    no_modules = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "python" / "rnncore", site / "rnncore", ignore=no_modules)
    subprocess.run(["cmake", "--install", folder, "--prefix", site], check=True)
    (site / "sitecustomize.py").write_text(SITE)
    return site


def library(name: str) -> str:
    """Where the compiler has it."""
    compiler = os.environ.get("CXX", "g++")
    path = subprocess.check_output([compiler, f"-print-file-name={name}"], text=True)
    return str(Path(path.strip()).resolve(strict=True))


def environment(name: str, isa: str, site: Path) -> dict[str, str]:
    sanitizer = SANITIZERS[name]
    own = dict(sanitizer.environment)
    for key in own:
        if key.endswith("_OPTIONS"):
            own[key] += f":log_path={site.parent / 'report'}"
    return {
        **os.environ,
        **own,
        "RNNCORE_TESTS_SLOWER": "10",
        "RNNCORE_TESTS_SHARE": f"0/{ONE_IN}",
        "LD_PRELOAD": " ".join(map(library, sanitizer.libraries)),
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "tests")]),
        "RNNCORE_ISA": isa,
    }


# Not a report: memory that nobody has was asked for, and the test demands a MemoryError.
REFUSED = "AddressSanitizer failed to allocate"


def reports_of(folder: Path) -> dict[Path, str]:
    """What the sanitizer wrote, of each process that it found something in."""
    found = {}
    for path in sorted(folder.glob("report.*")):
        lines = path.read_text(errors="replace").splitlines()
        if text := "\n".join(line for line in lines if REFUSED not in line).strip():
            found[path] = text
    return found


def run(name: str, isa: str, short: bool, arguments: list[str]) -> int:
    """Exit status: 0 if all tests passed and nothing was reported."""
    site = build(name, isa)
    for old in site.parent.glob("report.*"):
        old.unlink()
    sanitizer = SANITIZERS[name]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-k", sanitizer.select] if sanitizer.select else []
    command += ["-p", "share"] if short else []
    command += [f"--deselect={test}" for test in LEFT_OUT]
    command += [path for path in sanitizer.tests if (ROOT / path).exists()]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment(name, isa, site), check=False
    )
    reports = reports_of(site.parent)
    for path, text in reports.items():
        print(f"\n== {path.relative_to(ROOT)}\n{text}")
    print(f"{name}: pytest ended with {done.returncode}, {len(reports)} reports")
    return done.returncode or (1 if reports else 0)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sanitizer", choices=SANITIZERS)
    parser.add_argument("--short", action="store_true", help=f"one test in {ONE_IN}")
    parser.add_argument("--isa", default="base", help="the variant that is built and run")
    own, others = parser.parse_known_args(arguments)
    return run(own.sanitizer, own.isa, own.short, others)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
