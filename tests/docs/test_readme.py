"""README and the pages beside it: their code runs as copied, their links lead somewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rnncore
from pages import assert_links_lead_somewhere, assert_prints
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant  # the snippets train; numbers differ a little by variant

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
WRITTEN_BY_A_PROGRAM = (ROOT / "docs" / "scaling.md",)
NAMES = ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "bench/README")
PAGES = [*(ROOT / f"{name}.md" for name in NAMES), *sorted(ROOT.glob("docs/**/*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def snippets(page: Path) -> list[tuple[int, str, str]]:
    """Every Python block: its line, its code, and what the text block behind it says it prints."""
    text = page.read_text()
    blocks = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    found = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] == "python":
            prints = after is not None and text[block.end() : after.start()].split() == ["prints"]
            line = text[: block.start()].count("\n") + 1
            found.append((line, block[2], after[2] if after is not None and prints else ""))
    return found


@pytest.mark.parametrize(("line", "code", "said"), snippets(README))
def test_a_snippet_runs_as_copied(line: int, code: str, said: str, tmp_path: Path) -> None:
    """In an interpreter of its own, in a folder of its own, without a warning."""
    if "import torch" in code and importlib.util.find_spec("torch") is None:
        pytest.skip("this snippet needs torch")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(rnncore.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_prints(done.stdout, said)


def test_how_to_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
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
    assert sorted(set(rnncore.__all__) - named) == []


def test_the_table_of_cells_is_the_kernels_table() -> None:
    text = (ROOT / "docs" / "math" / "README.md").read_text()
    for row in core.cells():
        start = f"| `{row['name']}` | `{row['gates']}` | `{row['wiring']}` |"
        assert start in text
