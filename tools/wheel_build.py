"""Building a wheel, the same bytes wherever and whenever: one build directory for all interpreters.

The kernels know no Python, so that they are compiled for the first interpreter alone; the bindings
are compiled for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
import json, sys
from scikit_build_core import build
build.build_wheel(*map(json.loads, sys.argv[1:]))
"""


def pip(python: str | Path, *arguments: str | Path) -> None:
    """Run pip quietly."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    subprocess.run([str(part) for part in command], check=True)


def project() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(python: str) -> Path:
    """Install what a build needs beside the interpreter, in a folder; return it.

    All of it is Python, or programs, so that newer interpreters can use what one has installed.
    """
    version = _run(python, "-c", "import sys; print(*sys.version_info[:2], sep='.')")
    folder = ROOT / "build" / f"requirements-{version}"
    pyproject = project()
    asked = pyproject["build-system"]["requires"] + pyproject["dependency-groups"]["build"]
    done = folder / "done"
    if not done.exists() or done.read_text() != str(asked):
        pip(python, "install", "--target", folder, "--upgrade", *asked)
        hook = "print(*build.get_requires_for_build_wheel(), sep='\\n')"
        hooked = f"from scikit_build_core import build; {hook}"
        more = _run(python, "-c", hooked, cwd=ROOT, env=environment(folder))
        if more:
            pip(python, "install", "--target", folder, "--upgrade", *more.split("\n"))
        done.write_text(str(asked))
    return folder


def _run(*command: str, **options: Any) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    return done.stdout.strip()


def epoch() -> str:
    """SOURCE_DATE_EPOCH: the time of the commit, or of the newest entry where there is no git."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def environment(needs: Path) -> dict[str, str]:
    """Return the environment of a build: this one, without compiler flags of the user's own."""
    own = {"CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CMAKE_ARGS", "SKBUILD_CMAKE_ARGS"}
    result = {name: value for name, value in os.environ.items() if name not in own}
    return result | {
        "PYTHONPATH": str(needs),
        "PATH": os.pathsep.join([str(needs / "bin"), result.get("PATH", os.defpath)]),
        "SOURCE_DATE_EPOCH": epoch(),
    }


def wheel(
    python: str, needs: Path, work: Path, *, variants: str = "all", source: Path = ROOT
) -> Path:
    """Build one wheel into `work`/raw; return its path. The log lies in `work`.

    Parameters
    ----------
    python : str
        The interpreter.
    needs : Path
        What `requirements` returned.
    work : Path
        Holds the build directory.
    variants : str, optional
        CMake's RNNCORE_VARIANTS.
    source : Path, optional
        The source tree.

    Raises
    ------
    SystemExit
        If the build fails; with the end of its log.
    """
    (work / "raw").mkdir(parents=True, exist_ok=True)
    before = set((work / "raw").iterdir())
    settings = {
        "build-dir": str(work / "cmake"),
        "cmake.define.RNNCORE_VARIANTS": variants,
        "cmake.define.EIGEN_INCLUDE_DIR": str(needs / "eigency" / "eigen"),
    }
    command = [python, "-c", BUILD]
    arguments = [json.dumps(part) for part in (str(work / "raw"), settings)]
    with (work / "log").open("ab") as log:
        done = subprocess.run(
            command + arguments,
            cwd=source, env=environment(needs), stdout=log, stderr=log, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        tail = (work / "log").read_text(errors="replace").splitlines()[-40:]
        raise SystemExit("\n".join([*tail, f"the build failed; the whole log: {work / 'log'}"]))
    (path,) = set((work / "raw").iterdir()) - before
    return path
