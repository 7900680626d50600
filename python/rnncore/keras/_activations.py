"""Activations by their names in Keras, as rnncore's, and back."""

from __future__ import annotations

from typing import Any

from rnncore._native.functions import FUNCTIONS
from rnncore.keras._described import Described
from rnncore.layers import Activation

# Keras' functions, with their numbers: hard_sigmoid(x) = relu6(x + 3) / 6.
_OURS: dict[str, tuple[Any, ...]] = {
    "linear": ("identity",), "tanh": ("tanh",), "sigmoid": ("sigmoid",), "relu": ("relu",),
    "softmax": ("softmax",), "softplus": ("softplus",), "softsign": ("softsign",),
    "elu": ("elu", 1.0), "leaky_relu": ("leaky_relu", 0.2),
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
}  # fmt: skip
_OF_CELLS = ("tanh", "sigmoid", "relu", "softplus", "softsign", "elu", "leaky_relu", "hard_sigmoid")


def activation_of(layer: Described, option: str = "activation") -> Activation | None:
    """Return the activation that a layer's option names; None for the identity.

    ValueError, naming the layer, for another function.
    """
    name = _read(layer, option, tuple(_OURS))
    return None if name == "linear" else Activation(*_OURS[name])


def of_cell(layer: Described, option: str) -> Any:
    """Return a cell's activation, as rnncore's layers take it: a name, or a name and numbers."""
    name = _read(layer, option, (*_OF_CELLS, "linear"))
    if name == "linear":
        return ("affine", 1.0, 0.0)
    ours = _OURS[name]
    return ours if len(ours) > 1 else ours[0]


def name_in_keras(ours: Any) -> str | None:
    """Return Keras' name of a function, given as (name, alpha, beta); None if it has none."""
    name, *numbers = (ours,) if isinstance(ours, str) else ours
    own = [number for number in numbers if number is not None]
    usual = FUNCTIONS.get(name, ())
    whole = (name, *own, *usual[len(own) :])
    if whole == ("affine", 1.0, 0.0):
        return "linear"
    return next((theirs for theirs, known in _OURS.items() if known == whole), None)


def _read(layer: Described, option: str, known: tuple[str, ...]) -> str:
    """Return the name of a function; None stands for the identity."""
    value = layer.config.get(option)
    if value is None:
        return "linear"
    if not isinstance(value, str) or value not in known:
        raise layer.error(option, f"one of {', '.join(map(repr, known))}", value)
    return value
