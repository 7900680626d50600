"""What stands behind options: numbers, shares, and names of columns."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rnncore.cli.failures import WRONG_USE, CommandError


def count(text: str) -> int:
    """Read a positive integer."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """Read an integer >= 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected an integer >= 0, got {text!r}")
    return int(text)


def share(text: str) -> float:
    """Read a number in (0, 1)."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value


def columns(given: Sequence[str] | None, known: Sequence[str]) -> list[str] | None:
    """Return names of columns, which an option gave one by one or with commas between them."""
    if given is None:
        return None
    found: list[str] = []
    for text in given:
        found += [text] if text in known else [name.strip() for name in text.split(",")]
    return found


def model_file(path: Path) -> Path:
    """Return the path if a model may be written there; CommandError if not."""
    return _file(path, "--save", (".safetensors",))


def picture_file(path: Path) -> Path:
    """Return the path if a picture may be written there; CommandError if not."""
    return _file(path, "--plot", (".png", ".pdf", ".svg"))


def table_file(path: Path, used: Sequence[Path | None]) -> Path:
    """Return the path if a table may be written there, over none of those in use."""
    for other in used:
        if other is not None and path.exists() and other.exists() and path.samefile(other):
            raise CommandError(
                f"--out: expected another file than {other}, which is read", WRONG_USE
            )
    return _file(path, "--out", (".csv", ".parquet"))


def _file(path: Path, option: str, endings: tuple[str, ...]) -> Path:
    if path.suffix.lower() not in endings:
        one = " or ".join(endings)
        raise CommandError(f"{option}: expected a name that ends in {one}, got {path}", WRONG_USE)
    if not path.parent.is_dir():
        raise CommandError(f"{option}: no such folder: {path.parent}")
    if path.is_dir():
        raise CommandError(f"{option}: expected a file, got the folder {path}")
    if path.exists() and not path.is_file():
        raise CommandError(f"{option}: expected a file, got a device or a pipe: {path}")
    return path
