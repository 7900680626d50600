"""The pages of docs/how-to: each runs from top to bottom in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rnncore
from pages import assert_prints, snippets
from ranks import launcher

pytestmark = pytest.mark.once  # they compare with other libraries, on the best variant

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
NEEDED = {
    "faster-pytorch": ["torch"],
    "without-pytorch": ["torch"],
    "onnx": ["onnx", "onnxruntime"],
    "larger-than-memory": ["pyarrow"],
    "keras": ["h5py", "keras", "torch"],
    "searches": ["joblib", "sklearn"],
}
ON_RANKS = {"cluster": 2}  # a script under mpiexec
WITHOUT_CODE = {"several-hosts"}  # in Python
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


@pytest.mark.parametrize("name", sorted(ON_RANKS))
def test_a_script_prints_on_all_ranks_together_what_the_page_says(
    name: str, tmp_path: Path
) -> None:
    ((_, code, said),) = snippets(FOLDER / f"{name}.md")
    (tmp_path / "train.py").write_text(code)
    done = subprocess.run(
        [launcher(), "-n", str(ON_RANKS[name]), sys.executable, "train.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env=os.environ | {"PYTHONPATH": str(Path(rnncore.__file__).parents[1])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert_prints(done.stdout, said)
    assert (tmp_path / "model.safetensors").exists()
    assert len([*(tmp_path / "run").iterdir()]) > 0


def job_scripts() -> list[str]:
    """What the pages give to a batch system or to bash."""
    texts = [path.read_text() for path in sorted(FOLDER.glob("*.md"))]
    return [
        script for text in texts for script in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    ]


@pytest.mark.parametrize("script", job_scripts())
def test_job_scripts_are_bash(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_job_scripts_are_found() -> None:
    assert any(script.startswith("#!/bin/bash\n#SBATCH ") for script in job_scripts())


def test_every_page_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {*NEEDED, *ON_RANKS, *WITHOUT_CODE}
    assert all(snippets(FOLDER / f"{name}.md") == [] for name in WITHOUT_CODE)
