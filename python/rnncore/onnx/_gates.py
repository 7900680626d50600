"""Gates and activations of recurrent layers: rnncore's orders and names, and those of ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncore._native.cells import GateFunction
from rnncore._native.functions import FUNCTIONS
from rnncore._types import Array

# The gates of ONNX's nodes, by rnncore's letters. ONNX calls an LSTM's g "c" and a GRU's n "h".
ORDERS = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}
PEEPHOLES = "iof"

# ONNX's names of the functions. Affine and ScaledTanh are no operators of ONNX, from which their
# alpha and beta would come, so that a node must have them.
ACTIVATIONS = {name: name.title().replace("_", "") for name in FUNCTIONS}
_NEEDS_NUMBERS = ("affine", "scaled_tanh")
USUAL = {
    "RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh"),
}  # fmt: skip


def reordered(array: Array, letters: str, order: str) -> Array:
    """Return an array whose first axis has a block for each letter, in another order.

    A letter of `order` that `letters` lacks becomes a block of zeros.
    """
    blocks = dict(zip(letters, np.split(array, len(letters)), strict=True))
    nothing = np.zeros_like(blocks[letters[0]])
    return np.concatenate([blocks.get(letter, nothing) for letter in order])


def numbers_of(function: GateFunction) -> tuple[float, ...]:
    """Return alpha and beta, of those that a function has."""
    return (function.alpha, function.beta)[: len(FUNCTIONS[function.name])]


def activation_attributes(functions: Sequence[GateFunction]) -> dict[str, Any]:
    """Return the attributes of a node with these functions.

    All alphas and betas are written: each function takes the next ones, so that none may be left
    out in front of another.
    """
    attributes: dict[str, Any] = {"activations": [ACTIVATIONS[each.name] for each in functions]}
    numbers = [numbers_of(each) for each in functions]
    alphas = [given[0] for given in numbers if given]
    betas = [given[1] for given in numbers if len(given) > 1]
    if alphas:
        attributes["activation_alpha"] = alphas
    if betas:
        attributes["activation_beta"] = betas
    return attributes


def node_activations(attributes: Mapping[str, Any], count: int) -> tuple[Any, ...] | None:
    """Return a node's activations as layers take them, `count` of them; None where it names none.

    Capital letters do not matter, as in ONNX Runtime. Each takes the next number of
    activation_alpha and activation_beta, if it has such a number and there is one left.
    """
    names = attributes.get("activations")
    alphas = list(attributes.get("activation_alpha", ()))
    betas = list(attributes.get("activation_beta", ()))
    if names is None:
        return None
    if len(names) != count:
        raise ValueError(f"activations: expected {count} names, got {len(names)}")
    ours = {theirs.lower(): name for name, theirs in ACTIVATIONS.items()}
    found: list[Any] = []
    for given in names:
        name = ours.get(given.lower())
        if name is None:
            known = ", ".join(ACTIVATIONS.values())
            raise ValueError(f"activations: expected some of {known}, got {given!r}")
        usual = FUNCTIONS[name]
        if name in _NEEDS_NUMBERS and not (alphas and betas):
            raise ValueError(f"activation_alpha, activation_beta: expected numbers for {given}")
        numbers = [
            float(rest.pop(0)) if rest else number
            for rest, number in zip((alphas, betas), usual, strict=False)
        ]
        found.append((name, *numbers) if numbers else name)
    if alphas or betas:
        raise ValueError(f"activation_alpha, activation_beta: expected fewer for {names}")
    return tuple(found)
