"""A script: plants faults in the sources, one at a time; the named test must fail on each.

    python tests/mutants.py [NAME ...] [--python] [--sample 10 [--builds 3] [--seed TEXT]]

The faults are those of the folder `planted`: in Python, where nothing is built, and in C++, for
which a temporary copy of the tree is built with the build requirements of pyproject.toml (cmake,
ninja, pybind11, eigency; ccache where it is found). The tree without a fault must pass.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from planted import MUTANTS
from planted.mutant import Mutant, changed, write_source

ROOT = Path(__file__).parents[1]
NATIVE = Path("python", "rnncore", "_native")
VARIANT = "base"  # the quickest to build; a fault is a fault in each
PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # pytest starts twice as fast


def draw(mutants: Mapping[str, Mutant], count: int, builds: int, seed: str) -> list[str]:
    """Return names of `count` mutants, `builds` of them at most in C++."""
    source = random.Random(seed)
    compiled = [name for name, each in mutants.items() if each.compiled]
    others = [name for name, each in mutants.items() if not each.compiled]
    some = source.sample(compiled, min(builds, count, len(compiled)))
    return some + source.sample(others, min(count - len(some), len(others)))


def last_commit() -> str:
    """Return the name of the commit at hand; the day, where there is none."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or time.strftime("%Y-%m-%d")


def copy_tree(tree: Path) -> None:
    """Copy the sources."""
    ignored = shutil.ignore_patterns(
        ".git", "build", "*.so", "__pycache__", ".*cache", ".venv*", "*-output"
    )
    shutil.copytree(ROOT, tree, ignore=ignored)


def copy_modules(tree: Path) -> None:
    """Copy the compiled modules that lie here or, if there are none, those that are installed."""
    modules = [*(ROOT / NATIVE).glob("*.so")]
    if not modules:
        found = importlib.util.find_spec("rnncore")
        if found is None or found.origin is None:
            raise SystemExit("install rnncore first, or build its modules")
        modules = [*(Path(found.origin).parent / "_native").glob("*.so")]
    for module in modules:
        shutil.copy(module, tree / NATIVE)


def build(tree: Path) -> None:
    """Compile one variant into the package folder of `tree`; again = what changed."""
    folder = tree / "build"
    if not folder.exists():
        prefix = subprocess.check_output(
            [sys.executable, "-m", "pybind11", "--cmakedir"], text=True
        )
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",  # quicker to build; a fault is a fault
            "RNNCORE_VARIANTS": VARIANT,
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": prefix.strip(),
        }
        if shutil.which("ccache"):
            options["CMAKE_CXX_COMPILER_LAUNCHER"] = "ccache"
        run(
            ["cmake", "-G", "Ninja", "-B", folder, *(f"-D{k}={v}" for k, v in options.items())],
            tree,
        )
    run(["cmake", "--build", folder], tree)
    for library in folder.glob("*.so"):
        shutil.copy(library, tree / NATIVE)


def run(command: list[object], tree: Path) -> None:
    result = subprocess.run(
        [str(part) for part in command], cwd=tree, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise SystemExit(result.stdout + result.stderr)


def run_test(tree: Path, test: str, select: str) -> int:
    """Exit status of pytest: 0 all passed, 1 some failed, below 0 a crash, else it did not run."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    return subprocess.run(
        [*command, "-k", select] if select else command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "python"), **PLAIN},
        capture_output=True,
        timeout=900,
        check=False,
    ).returncode


def check(tree: Path, chosen: Mapping[str, Mutant]) -> int:
    """Return how many mutants live, and how many tests fail without any, in a tree that is built.

    Each fault is taken out again; the extension is then as it was with the last one.
    """
    wrong = 0
    for test, select in dict.fromkeys((m.test, m.select) for m in chosen.values()):
        passed = run_test(tree, test, select) == 0
        print(f"no fault: {test} -k '{select}': {'passes' if passed else 'FAILS'}", flush=True)
        wrong += not passed
    for name, mutant in chosen.items():
        path, start = tree / mutant.file, time.monotonic()
        before = path.read_text()
        write_source(path, changed(before, mutant))
        if mutant.compiled:
            build(tree)
        status = run_test(tree, mutant.test, mutant.select)
        write_source(path, before)
        caught = status == 1 or status < 0  # a process that died at the fault has noticed it
        wrong += not caught
        said = "caught" if caught else f"NOT CAUGHT (status {status})"
        print(f"{name}: {said} by {mutant.test}, {time.monotonic() - start:.0f} s", flush=True)
    return wrong


def read_arguments(arguments: list[str]) -> dict[str, Mutant]:
    parser = argparse.ArgumentParser(description="Plant faults; the named test must fail on each.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--python", action="store_true", help="those in Python alone")
    parser.add_argument("--sample", type=int, metavar="N", help="so many, drawn")
    parser.add_argument(
        "--builds", type=int, default=3, metavar="N", help="of them in C++, at most"
    )
    parser.add_argument("--seed", default="", help="of the draw; the name of the commit by default")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in MUTANTS]
    if unknown:
        parser.error(f"expected names out of {', '.join(MUTANTS)}, got {unknown}")
    chosen = {name: MUTANTS[name] for name in given.names or MUTANTS}
    if given.python:
        chosen = {name: each for name, each in chosen.items() if not each.compiled}
    if given.sample is not None:
        seed = given.seed or last_commit()
        print(f"drawn with --sample {given.sample} --builds {given.builds} --seed {seed}")
        chosen = {n: chosen[n] for n in draw(chosen, given.sample, given.builds, seed)}
    return chosen


def main(arguments: list[str]) -> int:
    chosen, wrong = read_arguments(arguments), 0
    compiled = {name: each for name, each in chosen.items() if each.compiled}
    others = {name: each for name, each in chosen.items() if not each.compiled}
    if compiled and importlib.util.find_spec("pybind11") is None:
        raise SystemExit("install the build requirements of pyproject.toml first, or use --python")
    with tempfile.TemporaryDirectory(prefix="rnncore-mutants-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        if others:
            copy_modules(tree)
            wrong += check(tree, others)
        if compiled:
            for module in (tree / NATIVE).glob("*.so"):
                module.unlink()
            build(tree)
            wrong += check(tree, compiled)
    print(f"{len(chosen)} faults, {wrong} failures")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
