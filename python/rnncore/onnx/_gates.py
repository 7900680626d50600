"""Gates and activations of recurrent layers: rnncore's orders and names, and those of ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore._types import Array

# The gates of ONNX's nodes, by rnncore's letters. ONNX calls an LSTM's g "c" and a GRU's n "h".
ORDERS = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}
PEEPHOLES = "iof"

# ONNX's names of the activations, and what alpha and beta are where a node has none: those of its
# operators of that name. Affine and ScaledTanh are none, so that their numbers must be there.
ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "relu": ("Relu", ()), "tanh": ("Tanh", ()), "sigmoid": ("Sigmoid", ()),
    "affine": ("Affine", (1.0, 0.0)), "leaky_relu": ("LeakyRelu", (0.01,)),
    "thresholded_relu": ("ThresholdedRelu", (1.0,)), "scaled_tanh": ("ScaledTanh", (1.0, 1.0)),
    "hard_sigmoid": ("HardSigmoid", (0.2, 0.5)), "elu": ("Elu", (1.0,)),
    "softsign": ("Softsign", ()), "softplus": ("Softplus", ()),
}  # fmt: skip
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


def with_numbers(activation: Any) -> tuple[str, tuple[float, ...]]:
    """Return an activation's name and all numbers that it takes: of a name, or (name, alpha)."""
    name, *given = (activation,) if isinstance(activation, str) else activation
    usual = ACTIVATIONS[name][1]
    return name, (*map(float, given), *usual[len(given) :])


def activation_attributes(activations: tuple[Any, ...]) -> dict[str, Any]:
    """Return the attributes of a node with these activations: names, or (name, alpha, beta).

    All alphas and betas are written: each activation takes the next ones, so that none may be left
    out in front of another.
    """
    found = [with_numbers(activation) for activation in activations]
    attributes: dict[str, Any] = {"activations": [ACTIVATIONS[name][0] for name, _ in found]}
    alphas = [numbers[0] for _, numbers in found if numbers]
    betas = [numbers[1] for _, numbers in found if len(numbers) > 1]
    if alphas:
        attributes["activation_alpha"] = alphas
    if betas:
        attributes["activation_beta"] = betas
    return attributes


def read_activations(attributes: Mapping[str, Any], count: int) -> tuple[Any, ...] | None:
    """Return a node's activations, `count` of them; None where it names none.

    Each takes the next number of activation_alpha and activation_beta, if it has such a number and
    there is one left.
    """
    names = attributes.get("activations")
    alphas = list(attributes.get("activation_alpha", ()))
    betas = list(attributes.get("activation_beta", ()))
    if names is None:
        return None
    if len(names) != count:
        raise ValueError(f"activations: expected {count} names, got {len(names)}")
    ours = {theirs: name for name, (theirs, _) in ACTIVATIONS.items()}
    found: list[Any] = []
    for given in names:
        if given not in ours:
            raise ValueError(f"activations: expected some of {', '.join(ours)}, got {given!r}")
        usual = ACTIVATIONS[ours[given]][1]
        if ours[given] in _NEEDS_NUMBERS and not (alphas and betas):
            raise ValueError(f"activation_alpha, activation_beta: expected numbers for {given}")
        numbers = [
            float(rest.pop(0)) if rest else number
            for rest, number in zip((alphas, betas), usual, strict=False)
        ]
        found.append((ours[given], *numbers) if numbers else ours[given])
    if alphas or betas:
        raise ValueError(f"activation_alpha, activation_beta: expected fewer for {names}")
    return tuple(found)
