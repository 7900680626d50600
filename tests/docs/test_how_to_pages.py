"""The pages of docs/how-to: each runs from top to bottom in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rnncore
from pages import assert_prints, snippets

pytestmark = pytest.mark.once  # they compare with other libraries, on the best variant

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
NEEDED = {
    "faster-pytorch": ["torch"],
    "without-pytorch": ["torch"],
    "onnx": ["onnx", "onnxruntime"],
    "larger-than-memory": ["pyarrow"],
    "keras": ["h5py", "keras", "torch"],
}
END = "-- end of a block --"


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_page_prints_what_it_says(name: str, tmp_path: Path) -> None:
    for package in NEEDED[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"this page needs {package}")
    blocks = snippets(FOLDER / f"{name}.md")
    program = "".join(f"{code}\nprint({END!r})\n" for _, code, _ in blocks)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env=os.environ
        | {"PYTHONPATH": str(Path(rnncore.__file__).parents[1]), "KERAS_BACKEND": "torch"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(f"{END}\n")
    assert printed.pop() == ""
    for (line, _, said), one in zip(blocks, printed, strict=True):
        assert_prints(f"block in line {line}\n{one}", f"block in line {line}\n{said}")


def test_every_page_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(NEEDED)
