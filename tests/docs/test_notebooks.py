"""The notebooks: they run, print what they show, are clean and small, and their links lead on."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rnncore
from pages import assert_links_lead_somewhere, assert_prints

pytestmark = pytest.mark.once  # their numbers are the same to a tenth; kernels have tests of theirs

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
SCRIPT = FOLDER / "notebooks.py"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 60  # on one core
WITH_FRAMES = ("forecasting",)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def prose(path: Path) -> str:
    cells = [cell for cell in read(path)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def without_outputs(notebook: dict[str, Any]) -> dict[str, Any]:
    cells = [cell | {"outputs": []} for cell in notebook["cells"]]
    return notebook | {"cells": cells}


def runs(name: str, folder: Path) -> str:
    """Run a notebook in a process of its own, as `make tutorials` does; return what that says."""
    pytest.importorskip("matplotlib", reason="the notebooks draw with matplotlib")
    if name in WITH_FRAMES:
        pytest.importorskip("pandas", reason="this notebook reads tables of pandas")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), name, "--out", str(folder)],
        capture_output=True, text=True, timeout=600,
        env=os.environ | {"PYTHONPATH": str(Path(rnncore.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def kinds(outputs: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(each["output_type"], sorted(each.get("data", ()))) for each in outputs]


def text_of(outputs: list[dict[str, Any]]) -> str:
    parts = [each.get("text") or each["data"].get("text/plain", []) for each in outputs]
    return "\n".join("".join(part) for part in parts)


def lacks_data(cell: dict[str, Any]) -> bool:
    tagged = "data" in cell["metadata"].get("tags", ())
    return tagged and "is carried by a package that" in text_of(cell["outputs"])


@each_notebook
def test_a_notebook_runs_in_time_and_shows_what_is_kept(path: Path, tmp_path: Path) -> None:
    said = runs(path.stem, tmp_path)
    seconds = re.fullmatch(r"\w+: ([\d.]+) s on one core\n", said)
    assert seconds is not None
    assert float(seconds[1]) < SECONDS
    fresh, kept = read(tmp_path / path.name), read(path)
    assert without_outputs(fresh) == without_outputs(kept), "run `make tutorials`"
    for i, (cell, there) in enumerate(zip(fresh["cells"], kept["cells"], strict=True)):
        if cell["cell_type"] != "code" or lacks_data(cell):
            continue
        assert kinds(cell["outputs"]) == kinds(there["outputs"]), f"cell {i}"
        if "varies" not in cell["metadata"].get("tags", ()):
            assert_prints(text_of(cell["outputs"]), text_of(there["outputs"]))


@each_notebook
def test_a_notebook_is_clean_and_small(path: Path) -> None:
    assert path.stat().st_size < 300_000
    notebook, text = read(path), path.read_text(encoding="utf-8")
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    shown = "".join(text_of(cell.get("outputs", [])) for cell in notebook["cells"])
    assert not re.findall(r"(?<![\w.:/])/\w+/|0x[0-9a-f]{6}", shown), "a path, or an address"
    for cell in notebook["cells"]:
        assert cell["metadata"] in ({}, {"tags": ["varies"]}, {"tags": ["data"]})
        assert cell.get("execution_count") is None
        assert not lacks_data(cell), "kept outputs are those with the data there"


@each_notebook
def test_prose_is_narrow_and_its_links_lead_somewhere(path: Path) -> None:
    text = prose(path)
    assert text.startswith("# ")
    assert not [line for line in text.split("\n") if len(line) > 100 and not line.startswith("|")]
    assert_links_lead_somewhere(path, text)


def test_the_index_names_every_notebook() -> None:
    index = (FOLDER.parent / "README.md").read_text()
    assert sorted(re.findall(r"\]\(tutorials/(\w+)\.ipynb\)", index)) == [p.stem for p in NOTEBOOKS]


def test_the_equation_is_that_of_the_readme() -> None:
    equation = re.compile(r"^z_t {6}= .*?(?=^```$)", re.DOTALL | re.MULTILINE)
    (here,) = equation.findall(prose(FOLDER / "recurrences.ipynb"))
    assert equation.findall((FOLDER.parents[1] / "README.md").read_text()) == [here]


def test_the_script_draws_what_the_notebooks_show(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the pictures need matplotlib")
    draws = runpy.run_path(str(FOLDER / "drawings.py"))["PICTURES"]
    shown = {name for path in NOTEBOOKS for name in re.findall(r"\]\((.+)\.png\)", prose(path))}
    assert shown == set(draws) == {path.stem for path in FOLDER.glob("*.png")}
    for name, draw in draws.items():
        draw().savefig(tmp_path / "drawn.png")
        assert (tmp_path / "drawn.png").stat().st_size > 5000
        assert (FOLDER / f"{name}.png").stat().st_size < 150_000


def broken(*lines: str) -> dict[str, Any]:
    cell = {"cell_type": "code", "execution_count": 7, "outputs": [], "metadata": {"id": "x"}}
    return {
        "cells": [cell | {"source": [f"{line}\n" for line in lines]}],
        "metadata": {"where": "/home/x"}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Any:
    """The function that runs a notebook and returns it clean."""
    pytest.importorskip("matplotlib", reason="the notebooks draw with matplotlib")
    return runpy.run_path(str(SCRIPT))["run"]


def test_outputs_are_in_their_order_and_the_rest_is_stripped(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    done = run(
        broken(
            "import matplotlib.pyplot as plt", "print(1)", "plt.plot([1, 2])", "plt.show()",
            "print(2, end='')", "print(3)", "'last'",
        ),
        "x.ipynb",
    )  # fmt: skip
    outputs = done["cells"][0]["outputs"]
    assert [text_of([each]) for each in outputs] == ["1\n", "", "23\n", "'last'"]
    assert outputs[1]["data"]["image/png"].startswith("iVBORw0KGgo")
    assert done["cells"][0]["metadata"] == {}
    assert done["cells"][0]["execution_count"] is None
    assert "where" not in done["metadata"]


def test_a_cell_that_fails_names_itself_and_leaves_the_folder(run: Any) -> None:
    before = Path.cwd()
    with pytest.raises(ZeroDivisionError) as error:
        run(broken("1", "1 / 0"), "x.ipynb")
    assert error.traceback[-1].path == "x.ipynb, cell 0"
    assert Path.cwd() == before
