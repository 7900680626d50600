"""The tutorials: their code runs in order, prints what the page says, and their pictures exist."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.per_variant

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(TUTORIALS.glob("*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def test_there_is_a_page():
    assert PAGES


@each_page
def test_code_prints_what_the_page_says(page):
    text = page.read_text()
    blocks = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert all(block[1] in ("python", "text") for block in blocks)
    namespace = {"__name__": "tutorial"}
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] != "python":
            continue
        line = text[: block.start()].count("\n") + 1
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + block[2], page.name, "exec"), namespace)
        said = after[2] if after is not None and after[1] == "text" else ""
        assert printed.getvalue() == said, f"block in line {line}"


@each_page
def test_what_a_page_shows_and_links_exists(page):
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    for link in links:
        path, _, heading = link.partition("#")
        target = page.parent / path
        assert target.exists(), link
        if target.suffix == ".png":
            assert target.stat().st_size < 150_000, link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, link


@each_page
def test_the_script_draws_every_picture(page, tmp_path):
    """Those that need no training; the others come of the page's own code, tested above."""
    pytest.importorskip("matplotlib", reason="the pictures need matplotlib")
    script = runpy.run_path(str(page.with_suffix(".py")))
    pictures = set(re.findall(r"\]\(([^)]+\.png)\)", page.read_text()))
    assert pictures == {f"{page.stem}-{name}.png" for name in script["PICTURES"]}
    for name, (draw, trains) in script["PICTURES"].items():
        if not trains:
            draw({}).savefig(tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.png").stat().st_size > 5000
