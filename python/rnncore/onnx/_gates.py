"""Gates and activations of recurrent layers: rnncore's orders and names, and those of ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._types import Array

# The gates of ONNX's nodes, by rnncore's letters. ONNX calls an LSTM's g "c" and a GRU's n "h".
ORDERS = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}
PEEPHOLES = "iof"

# ONNX's names of the activations, and those of their parameters that each takes.
ACTIVATIONS = {
    "relu": ("Relu", ""), "tanh": ("Tanh", ""), "sigmoid": ("Sigmoid", ""),
    "affine": ("Affine", "ab"), "leaky_relu": ("LeakyRelu", "a"),
    "thresholded_relu": ("ThresholdedRelu", "a"), "scaled_tanh": ("ScaledTanh", "ab"),
    "hard_sigmoid": ("HardSigmoid", "ab"), "elu": ("Elu", "a"), "softsign": ("Softsign", ""),
    "softplus": ("Softplus", ""),
}  # fmt: skip
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


def activation_attributes(activations: tuple[Any, ...]) -> dict[str, Any]:
    """Return the attributes of a node with these activations: names, or (name, alpha, beta)."""
    names: list[str] = []
    alphas: list[float] = []
    betas: list[float] = []
    for activation in activations:
        name, *numbers = (activation,) if isinstance(activation, str) else activation
        onnx_name, takes = ACTIVATIONS[name]
        names.append(onnx_name)
        if numbers and "a" in takes:
            alphas.append(float(numbers[0]))
        if len(numbers) > 1 and "b" in takes:
            betas.append(float(numbers[1]))
    attributes: dict[str, Any] = {"activations": names}
    if alphas:
        attributes["activation_alpha"] = alphas
    if betas:
        attributes["activation_beta"] = betas
    return attributes
