"""The public names of rnncore, read from the package, and a page of reStructuredText for each.

Public modules are those of the package that have no leading underscore; their public names are in
their `__all__`. What several modules offer is described once, at its home: its shortest name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import rnncore

INDEX = """Every public name, with its shapes, dtypes and errors, from the docstrings.
``docs/README.md`` in the source leads to tutorials, recipes and formulas. The letters: B sequences,
T steps, I features in, H hidden units, O outputs, N samples.

.. toctree::
   :maxdepth: 1

"""
OPTIONS = "   :members:\n   :inherited-members:\n   :special-members: __call__\n"


@cache
def modules() -> tuple[str, ...]:
    """Return the dotted names of the public modules, the package itself first."""
    found = (info.name for info in pkgutil.iter_modules(rnncore.__path__))
    return ("rnncore", *(f"rnncore.{name}" for name in sorted(found) if not name.startswith("_")))


@cache
def members(module: str) -> dict[str, Any]:
    """Return the public names of a module with what they name, without submodules."""
    room = importlib.import_module(module)
    named = {name: getattr(room, name) for name in sorted(room.__all__, key=str.lower)}
    return {name: v for name, v in named.items() if not isinstance(v, ModuleType)}


@cache
def homes() -> dict[int, str]:
    """Return the home of every public object, by the object's id."""
    found: dict[int, str] = {}
    for module in sorted(modules(), key=lambda name: (name.count("."), len(name), name)):
        for name, thing in members(module).items():
            found.setdefault(id(thing), f"{module}.{name}")
    return found


@cache
def things() -> dict[str, Any]:
    """Return every public object by its home."""
    found = {id(thing): thing for module in modules() for thing in members(module).values()}
    return {home: found[key] for key, home in homes().items()}


def title(text: str) -> str:
    """Return a heading."""
    return f"{text}\n{'=' * len(text)}\n\n"


def directive(thing: Any) -> str:
    """Return the name of autodoc's directive for a public object."""
    if inspect.isclass(thing):
        return "autoexception" if issubclass(thing, BaseException) else "autoclass"
    return "autofunction" if callable(thing) else "autodata"


def module_page(module: str) -> str:
    """Return the page of a module: what it says of itself, and a table of its names."""
    found = [homes()[id(thing)] for thing in members(module).values()]
    own = sorted((home for home in found if home.rpartition(".")[0] == module), key=str.lower)
    text = f"{title(module)}.. automodule:: {module}\n\n"
    if found:
        short = (home.removeprefix(f"{module}.") if home in own else f"~{home}" for home in found)
        text += ".. autosummary::\n\n" + "".join(f"   {name}\n" for name in short) + "\n"
    if own:
        text += ".. toctree::\n   :hidden:\n\n" + "".join(f"   {home}\n" for home in own)
    return text


def pages() -> dict[str, str]:
    """Return the text of every page by its name."""
    tree = "".join(f"   {name}\n" for name in modules())
    found = {"index": title(f"rnncore {rnncore.__version__}") + INDEX + tree}
    for module in modules():
        found[module] = module_page(module)
        for thing in members(module).values():
            home = homes()[id(thing)]
            options = OPTIONS if inspect.isclass(thing) else ""
            found[home] = f"{title(home)}.. currentmodule:: {home.rpartition('.')[0]}\n\n"
            found[home] += f".. {directive(thing)}:: {home}\n{options}"
    return found


def write(folder: Path) -> None:
    """Write the pages into a folder, which then has no others."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.rst"):
        path.unlink()
    for name, text in pages().items():
        (folder / f"{name}.rst").write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
