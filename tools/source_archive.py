"""Builds the source archive, and a wheel out of it with no index to ask: `make sdist`.

    python tools/source_archive.py [--wheel] [--variants base]

The archive goes into dist/. --wheel unpacks it elsewhere and builds a wheel there, with the build
requirements alone and pip's --no-index.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import wheel_build

ARCHIVE = """
import json, sys
from scikit_build_core import build
build.build_sdist(json.loads(sys.argv[1]))
"""
NEEDED = ("LICENSE", "CMakeLists.txt", "pyproject.toml", "README.md", "tests/conftest.py")


def archive(needs: Path, folder: Path, source: Path = wheel_build.ROOT) -> Path:
    """Write the source archive into a folder; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("rnncore-*.tar.gz"):
        old.unlink()
    subprocess.run(
        [sys.executable, "-c", ARCHIVE, json.dumps(str(folder))],
        cwd=source, env=wheel_build.environment(needs), stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    (path,) = folder.glob("rnncore-*.tar.gz")
    return path


def check(path: Path) -> None:
    """Demand what a build and its tests need, and nothing that was built."""
    with tarfile.open(path) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    missing = [name for name in NEEDED if name not in names]
    extra = [name for name in names if name.startswith("build/") or name.endswith((".so", ".pyc"))]
    if missing or extra:
        raise SystemExit(f"{path.name}: missing {missing}, too many {extra[:5]}")


def build_offline(path: Path, needs: Path, variants: str) -> None:
    """Build a wheel out of the archive, by pip, which may neither fetch nor ask."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "wheel",
                "--no-index", "--no-deps", "--no-build-isolation", "-w", folder,
                "--config-settings", f"cmake.define.RNNCORE_VARIANTS={variants}", str(path),
            ],
            env=wheel_build.environment(needs), cwd=folder, check=True,
        )  # fmt: skip
        (wheel,) = Path(folder).glob("*.whl")
        print(f"{path.name}: builds {wheel.name} with no index")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", action="store_true", help="build a wheel out of it, offline")
    parser.add_argument("--variants", default="native", help="CMake's RNNCORE_VARIANTS")
    options = parser.parse_args()
    needs = wheel_build.requirements(sys.executable)
    path = archive(needs, wheel_build.ROOT / "dist")
    check(path)
    print(path)
    if options.wheel:
        build_offline(path, needs, options.variants)


if __name__ == "__main__":
    main()
