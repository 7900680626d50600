"""Parts of a model file besides the model: plain data, arrays, and objects that know how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from rnncore._types import Array

_Class = TypeVar("_Class", bound=type)

_storable: dict[str, type[Any]] = {}


def storable(cls: _Class) -> _Class:
    """Let files hold objects of a class: `state_dict()` of plain data and arrays makes one again.

    By the class method `from_state_dict(state)`; for a class with ``of_module = True`` by
    `from_state_dict(state, module)`, where module is the file's model.
    """
    _storable[cls.__name__] = cls
    return cls


def to_plain(name: str, value: Any, arrays: dict[str, Array]) -> Any:
    """Return a value as JSON can hold it; its arrays go into `arrays`, by where they are.

    TypeError, with the name of the place, for what cannot be made again.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return to_plain(name, value.item(), arrays)
    if isinstance(value, np.ndarray):
        while name in arrays:  # {"a": [x], "a/0": y}
            name += "'"
        arrays[name] = value
        return {"$array": name}
    if isinstance(value, (list, tuple)):
        return [to_plain(f"{name}/{i}", item, arrays) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"{name}: expected text as keys, not beginning with $, got {key!r}")
        return {key: to_plain(f"{name}/{key}", item, arrays) for key, item in value.items()}
    cls = type(value)
    if _storable.get(cls.__name__) is not cls:
        known = ", ".join(_storable)
        raise TypeError(
            f"{name}: expected numbers, text, arrays, lists and dicts of these, or one of "
            f"{known}, got {cls.__name__}"
        )
    return {"$object": cls.__name__, "state": to_plain(name, value.state_dict(), arrays)}


def from_plain(value: Any, arrays: Mapping[str, Array], module: Any) -> Any:
    """Return what `to_plain` was given; lists for tuples. LookupError and the like if damaged."""
    if isinstance(value, list):
        return [from_plain(item, arrays, module) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return arrays[value["$array"]].copy()  # not a view of the whole file
    if "$object" in value:
        cls = _storable[value["$object"]]
        state = from_plain(value["state"], arrays, module)
        if getattr(cls, "of_module", False):
            return cls.from_state_dict(state, module)
        return cls.from_state_dict(state)
    return {key: from_plain(item, arrays, module) for key, item in value.items()}
