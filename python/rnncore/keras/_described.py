"""Described: a layer or model of Keras as plain data, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rnncore._types import Array

MODELS = ("Sequential", "Functional", "Model")
MOST_LAYERS = 4096


class Weights(Protocol):
    """Where a layer's weights come from: a live layer, or a group of a file."""

    def inside(self, name: str, kind: str, number: int) -> Weights:
        """Return those of a layer inside a model: the number-th of its class, from 0."""

    def arrays(self, kind: str) -> list[Array]:
        """Return those of a layer of this class, as `get_weights` does."""


@dataclass(frozen=True, eq=False)
class Described:
    """A layer, or a model of layers.

    Attributes
    ----------
    kind : str
        Its class in Keras.
    config : mapping
        As `get_config` returns it.
    weights : Weights
    """

    kind: str
    config: Mapping[str, Any]
    weights: Weights

    @property
    def name(self) -> str:
        """What Keras calls it."""
        return str(self.config.get("name", self.kind))

    def error(self, option: str, expected: str, got: Any) -> ValueError:
        """Return an error that names the layer and its option."""
        text = repr(got)
        text = text if len(text) < 200 else f"{text[:200]}..."
        return ValueError(f"{self.kind} {self.name!r}: {option}: expected {expected}, got {text}")


def described(serialized: Any, weights: Weights, what: str) -> Described:
    """Return what a serialized object says; ValueError unless it is of Keras itself.

    Parameters
    ----------
    serialized : mapping
        Class name, module and configuration, as Keras writes them.
    weights : Weights
    what : str
        How errors call it.
    """
    if not isinstance(serialized, Mapping):
        raise ValueError(f"{what}: expected a layer of Keras, got {type(serialized).__name__}")
    kind, config = serialized.get("class_name"), serialized.get("config")
    module = serialized.get("module")
    if not isinstance(kind, str) or not isinstance(config, Mapping):
        raise ValueError(f"{what}: expected a class name and a configuration, got neither")
    if not isinstance(module, str) or module.split(".")[0] != "keras":
        name = serialized.get("registered_name") or kind
        of = "" if module is None else f" of {module!r}"
        raise ValueError(f"{what}: expected a layer of Keras itself, got {name!r}{of}")
    return Described(kind, config, weights)


def layers_of(model: Described) -> dict[str, Described]:
    """Return the layers of a model by their names, in its order."""
    entries = model.config.get("layers")
    if not isinstance(entries, list) or len(entries) > MOST_LAYERS:
        raise model.error("layers", f"a list of at most {MOST_LAYERS}", type(entries).__name__)
    counts: dict[str, int] = {}
    layers: dict[str, Described] = {}
    for i, entry in enumerate(entries):
        what = f"{model.kind} {model.name!r}: layers[{i}]"
        found = described(entry, model.weights, what)
        number = counts.get(found.kind, 0)
        counts[found.kind] = number + 1
        if found.name in layers:
            raise ValueError(f"{what}: expected a name of its own, got {found.name!r} twice")
        own = model.weights.inside(found.name, found.kind, number)
        layers[found.name] = Described(found.kind, found.config, own)
    return layers
