"""What a name in single backticks means in a docstring: a link to its entry, or a parameter.

It is looked up as Python would from there: parameters, class, module; then the whole package.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import public_names
import rnncore

SINGLE = re.compile(r"(?<![`:\w])`([^`<>]+)`(?![`_])")
NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*\Z")
ITEM = re.compile(r"^([*\w]+(?:, [*\w]+)*)(?: : .*)?\n {4}\S", re.MULTILINE)  # of a section
_MISSING = object()
_ENTRIES = (type, property, cached_property, ModuleType)


def linked(text: str, owner: Any, name: str) -> tuple[str, list[str]]:
    """Return the text with its names in single backticks resolved, and those that could not be.

    Parameters
    ----------
    text : str
        A docstring.
    owner : object
        What it describes.
    name : str
        The name under which the reference has it.
    """
    unknown = []

    def replace(match: re.Match[str]) -> str:
        word = " ".join(match[1].split())
        if not NAME.match(word) or word in described(owner):
            return f"``{word}``"
        found = entry(word, owner, name)
        if found is not None:
            return f":py:obj:`{word} <{found}>`"
        if word not in everything():
            unknown.append(word)
        return f"``{word}``"

    return SINGLE.sub(replace, text), unknown


def described(thing: Any) -> set[str]:
    """Return a callable's parameters, and the names in the sections of its docstring."""
    takes = inspect.isfunction(thing) or inspect.ismethod(thing)
    found = set(inspect.signature(thing).parameters) if takes else set()
    for line in ITEM.findall(inspect.getdoc(thing) or ""):
        found |= set(line.replace("*", "").split(", "))
    return found


@cache
def everything() -> set[str]:
    """Return the names of all parameters and attributes that the reference has somewhere."""
    found: set[str] = set()
    for thing in public_names.things().values():
        found |= described(thing)
        if inspect.isclass(thing):
            public = [part for part in dir(thing) if not part.startswith("_")]
            found |= set(public).union(*(described(getattr(thing, part)) for part in public))
    return found


def entry(word: str, owner: Any, name: str) -> str | None:
    """Return the name of the entry that a word means, None for none."""
    first, *rest = word.split(".")
    for thing, found in _starts(first, owner, name):
        for part in rest:
            thing = getattr(thing, part, _MISSING)
            found = _home(thing) or f"{found}.{part}"
        if inspect.isroutine(thing) or isinstance(thing, _ENTRIES):
            return found
    return None


def _starts(first: str, owner: Any, name: str) -> Iterator[tuple[Any, str]]:
    """Yield what the first part of a dotted name may mean, with the name of its entry."""
    cls, class_name = _class_of(name)
    if hasattr(cls, first):
        yield getattr(cls, first), f"{class_name}.{first}"
    around = sys.modules.get(getattr(inspect.unwrap(owner), "__module__", None) or "", owner)
    candidates = [vars(around).get(first)] if isinstance(around, ModuleType) else []
    candidates += [getattr(rnncore, first, None), rnncore if first == "rnncore" else None]
    candidates += [v for m in public_names.modules() for v in [public_names.members(m).get(first)]]
    for thing in candidates:
        found = _home(thing)
        if found is not None:
            yield thing, found


def _class_of(name: str) -> tuple[Any, str]:
    """Return the public class that a name is or belongs to, and its home."""
    for home, thing in public_names.things().items():
        if inspect.isclass(thing) and (name == home or name.startswith(home + ".")):
            return thing, home
    return None, ""


def _home(thing: Any) -> str | None:
    """Return the entry of a public object or module."""
    if isinstance(thing, ModuleType):
        return thing.__name__ if thing.__name__ in public_names.modules() else None
    return public_names.homes().get(id(thing))
