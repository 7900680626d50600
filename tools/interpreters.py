"""Which CPythons there are on this machine, and what each can be used for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

OLDEST = (3, 10)
NEWEST_MINOR = 30  # names python3.10 ... python3.30 are looked for

ASK = """
import json, os, sys, sysconfig
header = os.path.join(sysconfig.get_path("include"), "Python.h")
print(json.dumps({
    "path": getattr(sys, "_base_executable", sys.executable),  # of a venv: what it was made from
    "version": list(sys.version_info[:3]), "headers": os.path.exists(header),
    "implementation": sys.implementation.name, "tag": sys.implementation.cache_tag,
    "threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""


class Interpreter(NamedTuple):
    """One CPython: `tag` is what wheels call it, such as cp312."""

    path: str
    version: tuple[int, ...]
    tag: str

    @property
    def name(self) -> str:
        """Such as 3.12.1."""
        return ".".join(map(str, self.version))


def find(named: list[str] | None = None) -> list[Interpreter]:
    """Return the newest of each minor version, oldest first: those named, or all of the machine.

    Looked for on PATH and in ~/.pyenv/versions. One without Python.h cannot compile anything, and
    one without the global lock is not supported: both are left out, with a word.
    """
    found: dict[tuple[int, ...], Interpreter] = {}
    for path in named or _candidates():
        interpreter = _ask(path, strict=named is not None)
        if interpreter is None:
            continue
        minor = interpreter.version[:2]
        if minor not in found or interpreter.version > found[minor].version:
            found[minor] = interpreter
    return [found[minor] for minor in sorted(found)]


def _candidates() -> list[str]:
    names = (f"python3.{minor}" for minor in range(OLDEST[1], NEWEST_MINOR + 1))
    on_path = (
        str(Path(folder) / name)
        for name in names
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
    )
    pyenv = (Path.home() / ".pyenv" / "versions").glob("*/bin/python")
    return [path for path in (*on_path, *map(str, pyenv)) if shutil.which(path)]


def _unusable(facts: dict[str, Any]) -> str:
    """Return why no wheel is built for one, or ""."""
    if facts["implementation"] != "cpython":
        return f"is no CPython, but {facts['implementation']}"
    if tuple(facts["version"]) < OLDEST:
        return f"is older than {'.'.join(map(str, OLDEST))}"
    if facts["threaded"]:
        return "runs without the global lock, which rnncore does not support"
    return "" if facts["headers"] else "has no Python.h"


def _ask(path: str, *, strict: bool) -> Interpreter | None:
    """Ask one what it is; `strict`: what cannot be used is an error."""
    done = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
    if done.returncode != 0:  # such as a name of pyenv's whose version is not chosen
        if strict:
            raise SystemExit(f"{path} does not run: {done.stderr.strip()}")
        return None
    facts = json.loads(done.stdout)
    version = tuple(facts["version"])
    if why := _unusable(facts):
        if strict:
            raise SystemExit(f"{path}: {why}")
        if version >= OLDEST:
            print(f"left out: {path} {why}")
        return None
    return Interpreter(facts["path"], version, f"cp{version[0]}{version[1]}")
