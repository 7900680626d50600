"""README and the pages beside it: their code runs as copied, their links lead somewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import rnncore
from pages import assert_links_lead_somewhere, assert_prints, snippets
from rnncore._native.isa import core
from rnncore.cli import main

pytestmark = pytest.mark.per_variant  # the snippets train; numbers differ a little by variant

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
WRITTEN_BY_A_PROGRAM = (ROOT / "docs" / "growth.md",)
NAMES = ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "bench/README")
PAGES = [*(ROOT / f"{name}.md" for name in NAMES), *sorted(ROOT.glob("docs/**/*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def skip_without_what_is_needed(code: str) -> None:
    """Skip a snippet whose optional packages or data are missing."""
    needed = {"matplotlib": ".savefig(", "narwhals": "import pandas"}
    needed |= {name: f"import {name}" for name in ("torch", "pandas")} | {"sklearn": "from sklearn"}
    for name, word in needed.items():
        if word in code and importlib.util.find_spec(name) is None:
            pytest.skip(f"this snippet needs {name}")
    for name in re.findall(r'datasets\.load\("([\w-]+)"\)', code):
        try:
            rnncore.datasets.load(name)
        except ModuleNotFoundError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize(("line", "code", "said"), snippets(README))
def test_a_snippet_runs_as_copied(line: int, code: str, said: str, tmp_path: Path) -> None:
    """In an interpreter of its own, in a folder of its own, without a warning."""
    skip_without_what_is_needed(code)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=os.environ
        | {"PYTHONPATH": str(Path(rnncore.__file__).parents[1]), "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_prints(done.stdout, said)


def test_how_to_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("matplotlib").use("Agg")
    pytest.importorskip("pandas")
    threads = rnncore.get_num_threads()
    namespace: dict[str, object] = {"__name__": "how_to"}
    try:
        for line, code, said in snippets(ROOT / "docs" / "how-to.md"):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * line + code, "how-to.md", "exec"), namespace)
            assert printed.getvalue() == said, f"block in line {line}"
    finally:
        rnncore.set_num_threads(threads)


def test_the_commands_of_how_to_forecast_its_csv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", "narwhals", "pandas"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "how-to.md"
    codes = [code for _, code, _ in snippets(page)]
    made = next(code for code in codes if 'to_csv("sales.csv"' in code)
    exec(compile(codes[0] + made, "how-to.md", "exec"), {})
    block = re.search(r"^```sh\n(python -m rnncore train .*?)^```$", page.read_text(), re.S | re.M)
    for command in block[1].replace("\\\n", "").splitlines():
        assert main(shlex.split(command.removeprefix("python -m rnncore "))) == 0
    assert (tmp_path / "sales-forecast.png").exists()
    lines = (tmp_path / "forecast.csv").read_text().splitlines()
    assert lines[0] == "day,shop,sales,sales_lower,sales_upper"
    assert len(lines) == 1 + 2 * 14


def test_readme_is_short_and_shows_a_forecast_first() -> None:
    text = README.read_text()
    assert len(text.split()) < 900
    assert text.index("](docs/forecast.png)") < text.index("## Install")


def test_the_equation_is_the_same_everywhere() -> None:
    pages = README, ROOT / "ARCHITECTURE.md", ROOT / "docs" / "math" / "README.md"
    equations = {re.search(r"^z_t {6}= .*?(?=^```$)", p.read_text(), re.S | re.M)[0] for p in pages}
    assert len(equations) == 1


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert_links_lead_somewhere(page, text)


@each_page
def test_prose_is_at_most_100_columns_wide(page: Path) -> None:
    fenced = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    wide = [line for line in fenced.splitlines() if len(line) > 100 and not line.startswith("|")]
    assert not wide or page in WRITTEN_BY_A_PROGRAM


def test_a_package_index_shows_no_link_into_the_tree() -> None:
    """There is no file beside the long description: pyproject.toml takes such links out of it."""
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    settings = tool["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert settings["fragments"] == [{"path": "README.md"}]
    text = README.read_text()
    for rule in settings["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert "docs/benchmarks.md" in text
    assert not [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]


def test_architecture_names_what_exists() -> None:
    """Every path in it, from the root or from python/rnncore."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    paths = set(re.findall(r"`(\w+/[\w./]*|\w+\.py)`", text))
    assert len(paths) > 50
    homes = ROOT, ROOT / "python" / "rnncore", ROOT / "cpp" / "recurrence", ROOT / "cpp" / "gemm"
    assert not sorted(p for p in paths if not any((home / p).exists() for home in homes))


def test_the_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    named = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)", text)}
    assert sorted({*rnncore.__all__, *rnncore.estimators.__all__} - named) == []


def test_the_table_of_cells_is_the_kernels_table() -> None:
    text = (ROOT / "docs" / "math" / "README.md").read_text()
    for row in core.cells():
        start = f"| `{row['name']}` | `{row['gates']}` | `{row['wiring']}` |"
        assert start in text
