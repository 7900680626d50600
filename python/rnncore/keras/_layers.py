"""Layers of Keras, one after another, made the modules of a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnncore.keras._activations import activation_of
from rnncore.keras._arrays import check_arrays
from rnncore.keras._described import Described, described
from rnncore.keras._recurrent import (
    bidirectional_modules,
    flag,
    recurrent_modules,
    whole,
)
from rnncore.layers import Activation, Linear, Masking, Pooling
from rnncore.layers.embedding import Embedding
from rnncore.module import Module

_RECURRENT = ("SimpleRNN", "GRU", "LSTM", "Bidirectional")


def modules_of(layer: Described) -> list[Module]:
    """Return what a layer is in a chain; ValueError for one that is not known, by its name."""
    make = _MAKERS.get(layer.kind)
    if make is None:
        known = ", ".join(_MAKERS)
        raise ValueError(f"{layer.kind} {layer.name!r}: expected one of {known}")
    return make(layer)


def skipped_steps(chain: list[Described]) -> str:
    """Return what the last recurrent layer gives at steps that a mask skips.

    Layers repeat their output, unless zero_output_for_mask; Bidirectional ones give zeros.
    """
    last = next((layer for layer in reversed(chain) if layer.kind in _RECURRENT), None)
    if last is None or last.kind == "Bidirectional" or flag(last, "zero_output_for_mask"):
        return "zeros"
    return "repeat"


def check_masks(chain: list[Described]) -> None:
    """Raise ValueError where Keras' masks mean what a chain of rnncore does not."""
    masked = False
    for layer in chain:
        masked = masked or layer.kind == "Masking" or bool(layer.config.get("mask_zero", False))
        if not masked:
            continue
        if layer.kind == "GlobalMaxPooling1D":
            raise ValueError(
                f"GlobalMaxPooling1D {layer.name!r}: expected no mask in front of it, which it "
                "does not read, got a Masking or an Embedding with mask_zero"
            )
        backwards = layer.config.get("go_backwards") is True
        if backwards and layer.config.get("return_sequences") is True:
            expected = "False with return_sequences behind a mask, which Keras does not reverse"
            raise layer.error("go_backwards", expected, True)


def _embedding(layer: Described) -> list[Module]:
    V, D = whole(layer, "input_dim"), whole(layer, "output_dim")
    arrays = layer.weights.arrays(layer.kind)
    check_arrays(layer, arrays, [(V, D)])
    embedding = Embedding(V, D, dtype=arrays[0].dtype)
    embedding.parameters["weight"][...] = arrays[0]
    return [Masking(0), embedding] if flag(layer, "mask_zero") else [embedding]


def _dense(layer: Described) -> list[Module]:
    O, biased = whole(layer, "units"), flag(layer, "use_bias", usual=True)  # noqa: E741
    if layer.config.get("lora_rank") is not None:
        raise layer.error("lora_rank", "None", layer.config["lora_rank"])
    activation = activation_of(layer)
    arrays = layer.weights.arrays(layer.kind)
    check_arrays(layer, arrays, [(None, O), *[(O,)] * biased])
    linear = Linear(len(arrays[0]), O, bias=biased, dtype=arrays[0].dtype)
    linear.parameters["weight"][...] = arrays[0].T
    if biased:
        linear.parameters["bias"][...] = arrays[1]
    return [linear] if activation is None else [linear, activation]


def _each_step(layer: Described) -> list[Module]:
    what = f"TimeDistributed {layer.name!r}: layer"
    inner = described(layer.config.get("layer"), layer.weights, what)
    if inner.kind == "Dense":
        arrays = layer.weights.arrays(layer.kind)
        return _dense(Described(inner.kind, inner.config, _Known(arrays)))
    if inner.kind in _POINTWISE:
        return modules_of(inner)
    raise layer.error("layer", f"Dense or one of {', '.join(_POINTWISE)}", inner.kind)


class _Known:
    """Arrays that were read already."""

    def __init__(self, arrays: list[Any]) -> None:
        self._arrays = arrays

    def inside(self, name: str, kind: str, number: int) -> _Known:
        return self

    def arrays(self, kind: str) -> list[Any]:
        return self._arrays


def _masking(layer: Described) -> list[Module]:
    return [Masking(_number(layer, "mask_value"))]


def _activation(layer: Described) -> list[Module]:
    found = activation_of(layer)
    return [] if found is None else [found]


def _relu(layer: Described) -> list[Module]:
    for option, usual in (("max_value", None), ("threshold", 0.0)):
        if layer.config.get(option, usual) != usual:
            raise layer.error(option, repr(usual), layer.config[option])
    alpha = _number(layer, "negative_slope", 0.0)
    return [Activation("leaky_relu", alpha) if alpha else Activation("relu")]


def _softmax(layer: Described) -> list[Module]:
    if layer.config.get("axis", -1) != -1:
        raise layer.error("axis", "-1", layer.config["axis"])
    return [Activation("softmax")]


def _pooling(kind: str) -> Callable[[Described], list[Module]]:
    def pooling(layer: Described) -> list[Module]:
        if flag(layer, "keepdims"):
            raise layer.error("keepdims", "False", True)
        if layer.config.get("data_format", "channels_last") not in ("channels_last", None):
            raise layer.error("data_format", "'channels_last'", layer.config["data_format"])
        return [Pooling(kind)]

    return pooling


def _number(layer: Described, option: str, usual: float | None = None) -> float:
    value = layer.config.get(option, usual)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise layer.error(option, "a number", value)
    return float(value)


def _nothing(layer: Described) -> list[Module]:
    """Return no module: in inference the layer changes nothing."""
    return []


_POINTWISE: dict[str, Callable[[Described], list[Module]]] = {
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": lambda layer: [Activation("leaky_relu", _number(layer, "negative_slope", 0.3))],
    "ELU": lambda layer: [Activation("elu", _number(layer, "alpha", 1.0))],
    "Softmax": _softmax,
    "Dropout": _nothing,
}
_MAKERS: dict[str, Callable[[Described], list[Module]]] = {
    "InputLayer": _nothing,
    "Embedding": _embedding,
    "Masking": _masking,
    "SimpleRNN": recurrent_modules,
    "GRU": recurrent_modules,
    "LSTM": recurrent_modules,
    "Bidirectional": bidirectional_modules,
    "Dense": _dense,
    "TimeDistributed": _each_step,
    "GlobalAveragePooling1D": _pooling("mean"),
    "GlobalMaxPooling1D": _pooling("max"),
    "SpatialDropout1D": _nothing,
    **_POINTWISE,
}
