"""Mutant: a fault that is planted in a source file, and the test that must notice it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """Texts of one file, each found once, with what replaces them; the test that must fail."""

    file: str
    edits: tuple[tuple[str, str], ...]
    test: str
    select: str = ""  # of its cases

    @property
    def compiled(self) -> bool:
        """Whether the extension has to be built again."""
        return self.file.startswith("cpp/")


def changed(text: str, mutant: Mutant) -> str:
    """Return the text of the mutant's file with the fault in it; ValueError if one does not fit."""
    for old, new in mutant.edits:
        if text.count(old) != 1:
            found = text.count(old)
            raise ValueError(f"{mutant.file}: expected once, found {found} times: {old!r}")
        text = text.replace(old, new)
    return text


def write_source(path: Path, text: str) -> None:
    """Write a source file, and remove what Python keeps of it.

    Python takes its bytecode for that of a file of the same size that was written in the same
    second.
    """
    path.write_text(text)
    if path.suffix == ".py":
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
