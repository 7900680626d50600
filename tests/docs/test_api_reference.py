"""The API reference: a page for every public name, and backticks that mean what they say."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rnncore

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
SPHINX = ROOT / "docs" / "sphinx"


def load(name):
    """A module of docs/sphinx; they find each other in their own folder, as in a build."""
    sys.path.insert(0, str(SPHINX))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SPHINX))


public_names, backticks = load("public_names"), load("backticks")


def modules_of_the_tree():
    """The public modules, from the files' names alone."""
    files = [*(ROOT / "python" / "rnncore").glob("*.py"), *Path(rnncore.__file__).parent.glob("*/")]
    names = {path.stem for path in files if path.suffix == ".py" or (path / "__init__.py").exists()}
    return ["rnncore", *(f"rnncore.{name}" for name in sorted(names) if name[0] != "_")]


@pytest.mark.parametrize("module", modules_of_the_tree())
def test_every_public_name_has_a_page(module):
    """And the page describes what the module means by that name."""
    room = importlib.import_module(module)
    pages = public_names.pages()
    for name in room.__all__:
        thing = getattr(room, name)
        if f"{module}.{name}" in modules_of_the_tree():
            assert f".. automodule:: {module}.{name}\n" in pages[f"{module}.{name}"]
            continue
        homes = [p for p, text in pages.items() if re.search(rf"^\.\. auto\w+:: {p}$", text, re.M)]
        owners = [h for h in homes if h.rpartition(".")[2] == name and resolve(h) is thing]
        assert len(owners) == 1, f"{module}.{name}"
        listed = re.findall(r"^   ~?(\S+)$", pages[module], re.M)
        assert {owners[0], name} & set(listed), f"{module}.{name}"


def resolve(home):
    module, _, name = home.rpartition(".")
    return getattr(importlib.import_module(module), name, None) if module else None


def test_the_pages_are_all_reached_from_the_index():
    pages = public_names.pages()
    reached, waiting = set(), ["index"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        tree = pages[page].partition(".. toctree::")[2]
        waiting += set(re.findall(r"^   (\w[\w.]*)$", tree, re.M)) - reached
    assert reached == pages.keys()


def test_pages_that_are_no_longer_wanted_go(tmp_path):
    (tmp_path / "rnncore.Gone.rst").write_text("gone")
    public_names.write(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == public_names.pages().keys()
    assert (tmp_path / "rnncore.LSTM.rst").read_text() == public_names.pages()["rnncore.LSTM"]


@pytest.mark.parametrize(
    ("text", "owner", "name", "expected"),
    [
        ("`lengths`", rnncore.LSTM.forward, "rnncore.LSTM.forward", "``lengths``"),
        ("`backward`", rnncore.LSTM.forward, "rnncore.LSTM.forward", "rnncore.LSTM.backward"),
        ("`RNN`", rnncore.LSTM, "rnncore.LSTM", "rnncore.RNN"),
        ("`backward`", rnncore.functional.forward, "rnncore.functional.forward",
         "rnncore.functional.backward"),
        ("`rnncore.layers.LSTM`", rnncore.seed, "rnncore.seed", "rnncore.LSTM"),
        ("`losses.Huber`", rnncore.ManyToOne, "rnncore.ManyToOne", "rnncore.losses.Huber"),
        ("`rnncore.losses`", rnncore.ManyToOne, "rnncore.ManyToOne", "rnncore.losses"),
        ("`LSTM.step`", rnncore.seed, "rnncore.seed", "rnncore.LSTM.step"),
        ("`fit(x, y)`", rnncore.seed, "rnncore.seed", "``fit(x, y)``"),
        ("``LSTM``", rnncore.seed, "rnncore.seed", "``LSTM``"),
    ],
)  # fmt: skip
def test_backticks_are_links_or_parameters(text, owner, name, expected):
    got, unknown = backticks.linked(text, owner, name)
    link = f":py:obj:`{text.strip('`')} <{expected}>`"
    assert got == (expected if "`" in expected else link)
    assert unknown == []


@pytest.mark.parametrize("word", ["LTSM", "rnncore.losses.Hubris", "LSTM.stop", "_native"])
def test_a_misspelt_name_is_noticed(word):
    _, unknown = backticks.linked(f"as `{word}` does", rnncore.seed, "rnncore.seed")
    assert unknown == [word]


def test_names_in_all_docstrings_are_known():
    """What needs no Sphinx of the build: the docstrings of every public object and its members."""
    strangers = []
    for home, thing in public_names.things().items():
        parts = [(home, thing)]
        if inspect.isclass(thing):
            public = (part for part in dir(thing) if not part.startswith("_"))
            parts += [(f"{home}.{part}", getattr(thing, part)) for part in public]
        for name, part in parts:
            if getattr(part, "__module__", "").startswith("rnncore"):
                found = backticks.linked(inspect.getdoc(part) or "", part, name)[1]
                strangers += [f"{name}: {word}" for word in found]
    assert strangers == []


def build(folder, pages):
    """What Sphinx says when it builds some pages alone."""
    for name, text in pages.items():
        (folder / f"{name}.rst").write_text(text)
    command = [sys.executable, "-m", "sphinx", "-q", "--no-color", "-c", SPHINX]
    done = subprocess.run([*command, folder, folder / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_build_says_which_names_it_lacks(tmp_path):
    pytest.importorskip("numpydoc", reason="the reference needs Sphinx and numpydoc")
    pytest.importorskip("furo", reason="the reference needs the theme furo")
    pages = public_names.pages()
    one = "rnncore.set_num_threads"
    tree = f".. toctree::\n\n   {one}\n"
    said = build(tmp_path, {"index": public_names.title("x") + tree, one: pages[one]})
    lacking = set(re.findall(r"the reference has no entry for (\S+)", said))
    assert lacking == set(public_names.things()) - {one}
    html = (tmp_path / "html" / f"{one}.html").read_text()
    assert "results are the same bits at any number" in html
