"""Builds a wheel for every CPython of this machine, repairs, checks and tries each: `make wheels`.

    python tools/wheels.py [--pythons "python3.10 ..."] [--steps build,try] [--peers]
                           [--variants base]

Each wheel holds all variants, or those that are asked for, and lies in dist/. Each is tried in two
clean environments, outside of the source tree: with the oldest numpy that it may meet, and with the
newest. Each try runs all tests of the binding and one share of the kernels', whose code is the same
in all of them; all tries together run every test. --peers also tries one of them with torch and
ONNX Runtime in its process.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import interpreters
import wheel_build
import wheel_contents
from interpreters import Interpreter

ROOT = wheel_build.ROOT
WORK = ROOT / "build" / "wheels"
DIST = ROOT / "dist"

# The first releases with wheels for a CPython, but never older than pyproject.toml allows.
OLDEST_NUMPY = {"cp310": "1.24.0", "cp311": "1.24.0", "cp312": "1.26.0", "cp313": "2.1.0"}
OLDEST_OTHERS = ("tqdm==4.60.0", "narwhals==2.0.0")
TRIED_WITH = ("pytest", "pytest-xdist", "hypothesis")
BINDING_TESTS = ("core", "bind", "native")  # what differs between CPythons: all of them in each
KERNEL_TESTS = ("gemm", "recurrence")  # the same code in all: each runs one share of them
PEERS = ("torch==2.13.0", "onnx>=1.17", "onnxruntime>=1.20")
PEER_TESTS = ("core/test_team.py", "interchange/test_torch_processes.py")


def build(found: list[Interpreter], variants: str) -> list[Path]:
    """Build, repair and check one wheel for each; return them as they lie in dist/."""
    needs = wheel_build.requirements(found[0].path)
    shutil.rmtree(WORK / "raw", ignore_errors=True)
    for old in DIST.glob("*.whl"):  # the source archive stays
        old.unlink()
    wheels = []
    for interpreter in found:
        begin = time.monotonic()
        raw = wheel_build.wheel(interpreter.path, needs, WORK, variants=variants)
        wheels.append(repair(raw))
        print(f"built in {time.monotonic() - begin:.0f} s: {wheels[-1].name}", flush=True)
    commands = (WORK / "cmake" / "build.ninja").read_text()
    expected = None if variants == "all" else set(variants.split(";"))
    faults = [fault for wheel in wheels for fault in wheel_contents.faults(wheel, expected)]
    if "-march=native" in commands or "-mtune=native" in commands:
        faults.append("build.ninja: compiled for the machine at hand (-march=native)")
    if faults:
        raise SystemExit("\n".join(faults))
    return wheels


def repair(raw: Path) -> Path:
    """Let auditwheel say which distributions it runs on; it must have nothing to graft."""
    before = set(DIST.glob("*.whl"))
    command = [sys.executable, "-m", "auditwheel", "repair", "-w", str(DIST), str(raw)]
    folder = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {"SOURCE_DATE_EPOCH": wheel_build.epoch(), "PATH": folder}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"auditwheel: {done.stderr}")
    (path,) = set(DIST.glob("*.whl")) - before
    return path


def environment(interpreter: Interpreter, wheel: Path, name: str, *packages: str) -> Path:
    """Make a new environment with the wheel and these packages; return its Python."""
    folder = WORK / "try" / f"{interpreter.tag}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter.path, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    wheel_build.pip(python, "install", "--only-binary", ":all:", wheel, *TRIED_WITH, *packages)
    for other in ("tests", "tools", "docs/math", "cpp/gemm/bf16"):  # the latter: read by tests
        shutil.copytree(ROOT / other, folder / other)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return python


def run(python: Path, *arguments: str, **variables: str) -> str:
    """Run Python beside the copied tests; return what it prints."""
    done = subprocess.run(
        [str(python), *arguments],
        cwd=python.parents[2], env=_clean() | variables, stdout=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\nfailed: {python} {' '.join(arguments)} {variables}")
    return done.stdout.strip()


def run_tests(python: Path, *names: str, share: str = "0/1") -> str:
    """Run these tests, or a share of them; return how many passed, as pytest says it."""
    options = ("-q", "-p", "no:cacheprovider", "-p", "share", "-n", "auto")
    tests = [f"tests/{name}" for name in names]
    variables = {"PYTHONPATH": "tests", "RNNCORE_TESTS_SHARE": share}
    lines = run(python, "-m", "pytest", *options, *tests, **variables).splitlines()
    return next(line for line in reversed(lines) if " passed" in line)


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def try_out(interpreter: Interpreter, wheel: Path, shares: Iterator[str]) -> None:
    """Run the self-test of every variant and the tests, on two numpys."""
    oldest = OLDEST_NUMPY.get(interpreter.tag)
    others = OLDEST_OTHERS if oldest else ()
    wanted = {"oldest": (f"numpy=={oldest}", *others)} if oldest else {}
    for name, packages in (wanted | {"newest": ("numpy",)}).items():
        python = environment(interpreter, wheel, name, *packages)
        numpy = run(python, "-c", "import numpy; print(numpy.__version__)")
        isas = run(python, "-c", "import rnncore; print(*rnncore.available_isas())").split()
        for isa in isas:
            run(python, "-m", "rnncore", "selftest", RNNCORE_ISA=isa)
        said = run_tests(python, *BINDING_TESTS)
        share = next(shares)
        said += "; kernels: " + run_tests(python, *KERNEL_TESTS, share=share)
        print(f"{wheel.name}, numpy {numpy}: selftest of {', '.join(isas)}; {said}", flush=True)


def try_with_peers(interpreter: Interpreter, wheel: Path) -> None:
    """Run the tests of threads with torch and ONNX Runtime in the process."""
    python = environment(interpreter, wheel, "peers", *PEERS)
    said = run_tests(python, *PEER_TESTS)
    print(f"{wheel.name}, beside torch and ONNX Runtime: {said}", flush=True)


def wheel_of(interpreter: Interpreter) -> Path:
    """Return the wheel in dist/ for an interpreter."""
    found = [path for path in DIST.glob("*.whl") if re.search(rf"-{interpreter.tag}-", path.name)]
    if len(found) != 1:
        raise SystemExit(f"dist/: expected one wheel for {interpreter.tag}, got {len(found)}")
    return found[0]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", help="interpreters, in place of all of the machine")
    parser.add_argument("--steps", default="build,try", help="build, try, or both (default)")
    parser.add_argument("--variants", default="all", help="CMake's RNNCORE_VARIANTS; for a try")
    parser.add_argument("--peers", action="store_true", help="beside torch and ONNX Runtime too")
    options = parser.parse_args()
    found = interpreters.find(options.pythons.split() if options.pythons else None)
    if not found:
        raise SystemExit("no CPython >= 3.10 with Python.h: name some by PYTHONS='python3.12 ...'")
    print("CPython", ", ".join(one.name for one in found), flush=True)
    steps = options.steps.split(",")
    if "build" in steps:
        build(found, options.variants)
    if "try" in steps:
        tries = 2 * len(found)
        shares = iter([f"{part}/{tries}" for part in range(tries)])
        for interpreter in found:
            try_out(interpreter, wheel_of(interpreter), shares)
    if options.peers:
        try_with_peers(found[-1], wheel_of(found[-1]))


if __name__ == "__main__":
    main()
