"""Layers and models of Keras that are there: known by their class, never imported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.keras._described import Described, Weights, described


@dataclass(frozen=True, eq=False)
class LiveWeights:
    """The weights of a live layer, or of a layer inside a live model.

    Attributes
    ----------
    model : object
    path : tuple of str
        Names of the layers to go through.
    """

    model: Any
    path: tuple[str, ...] = ()

    def inside(self, name: str, kind: str, number: int) -> Weights:
        """Return those of a layer inside a model."""
        return LiveWeights(self.model, (*self.path, name))

    def arrays(self, kind: str) -> list[Array]:
        """Return what `get_weights` does."""
        layer = self.model
        for name in self.path:
            layer = layer.get_layer(name=name)
        return [np.asarray(array) for array in layer.get_weights()]


def is_live(thing: Any) -> bool:
    """Whether something is a layer or model of Keras, or of a class that is made of one."""
    known = hasattr(thing, "get_config") and hasattr(thing, "get_weights")
    return known and not isinstance(thing, type)


def describe_live(thing: Any) -> Described:
    """Return a live layer or model as plain data; ValueError for a class that is not Keras' own."""
    cls = type(thing)
    kind, module = cls.__name__, cls.__module__
    # A stranger's class is refused by its module's name, before anything of it is called.
    config = _plain(thing.get_config()) if module.split(".")[0] == "keras" else {}
    if getattr(thing, "built", True) is False:
        raise ValueError(f"{kind} {config.get('name', kind)!r}: expected a built one, got one "
                         "without weights: call it on data, or build(...), first")  # fmt: skip
    serialized = {"class_name": kind, "module": module, "config": config}
    return described(serialized, LiveWeights(thing), "layer")


def _plain(config: Any) -> Any:
    """Return a configuration as a file has it: lists for tuples, numbers for numpy's."""

    def other(value: Any) -> Any:
        return value.item() if isinstance(value, np.generic) else repr(value)

    return json.loads(json.dumps(config, default=other))
