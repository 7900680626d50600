"""The rules of this suite: each file says how often it runs, and a helper is written once."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))


def marks(text: str) -> set[str]:
    """The marks of all tests of a file: what stands in its `pytestmark`."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            return {part.attr for part in ast.walk(node.value) if isinstance(part, ast.Attribute)}
    return set()


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name.startswith("test_")],
    ids=lambda path: str(path.relative_to(FOLDER)),
)
def test_a_file_runs_once_or_once_per_variant(path: Path) -> None:
    assert len(marks(path.read_text()) & {"once", "per_variant"}) == 1


def test_no_helper_is_written_twice() -> None:
    """Functions of one name with the same body have one home that both files import."""
    places = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("test_"):
                node.returns = None
                places[node.name, ast.dump(node)].append(str(path.relative_to(FOLDER)))
    assert {name: found for (name, _), found in places.items() if len(found) > 1} == {}
