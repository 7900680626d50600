"""Builds a wheel and a source archive twice, elsewhere and otherwise, and compares their bytes.

    python tools/reproducible.py [--variants base]      `make reproducible`

The second build lies in a folder with a longer name, whose files are newer, with another umask,
language and time zone. SOURCE_DATE_EPOCH, the time of the commit, is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import source_archive
import wheel_build

WORK = wheel_build.ROOT / "build" / "reproducible"
TREE = ("cmake", "cpp", "python", "tests", "tools", "docs", "examples", "reproduce")
FILES = ("CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md")


def copy_tree(folder: Path) -> Path:
    """Copy what is built, without what was built already; all files are new."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__", ".*")
    for name in TREE:
        shutil.copytree(
            wheel_build.ROOT / name, folder / name, ignore=ignored, copy_function=shutil.copyfile
        )
    for name in FILES:
        shutil.copyfile(wheel_build.ROOT / name, folder / name)
    return folder


def build(needs: Path, folder: Path, variants: str) -> list[Path]:
    """Build from a copy of the tree."""
    source = copy_tree(folder / "source")
    wheel = wheel_build.wheel(sys.executable, needs, folder, variants=variants, source=source)
    return [wheel, source_archive.archive(needs, folder / "archive", source)]


def differences(one: Path, other: Path) -> list[str]:
    """Say which members of two wheels differ."""
    with zipfile.ZipFile(one) as a, zipfile.ZipFile(other) as b:
        if a.namelist() != b.namelist():
            return ["their lists of files"]
        return [name for name in a.namelist() if a.read(name) != b.read(name)] or ["the zip alone"]


def main() -> None:
    """Build twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default="base", help="CMake's RNNCORE_VARIANTS")
    options = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    os.environ.pop("CMAKE_CXX_COMPILER_LAUNCHER", None)  # a cache would answer the second time
    needs = wheel_build.requirements(sys.executable)
    os.environ["SOURCE_DATE_EPOCH"] = wheel_build.epoch()
    first = build(needs, WORK / "a", options.variants)
    os.umask(0o077)
    os.environ |= {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "HOME": str(WORK)}
    second = build(needs, WORK / "another-folder-with-a-longer-name", options.variants)
    for one, other in zip(first, second, strict=True):
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, other)]
        if hashes[0] != hashes[1]:
            why = differences(one, other) if one.suffix == ".whl" else ["the archive"]
            raise SystemExit(f"{one.name}: two builds differ in {', '.join(why)}")
        print(f"{one.name}: the same bytes twice, SHA-256 {hashes[0]}")


if __name__ == "__main__":
    main()
