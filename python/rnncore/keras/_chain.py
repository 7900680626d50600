"""The layers of a model of Keras as a chain: in a functional one, which layer reads which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnncore.keras._described import MODELS, MOST_LAYERS, Described, layers_of

_MASK_OPERATIONS = (
    "NotEqual",
    "Any",
)  # Keras adds these itself for the masks of Masking, Embedding

_DEEPEST = 16  # models inside models


def chain_of(model: Described, depth: int = 0) -> list[Described]:
    """Return the layers of a Sequential, or of a functional model that is a chain, in order.

    Models inside it are opened. ValueError for more than one input, output or way through.
    """
    if depth > _DEEPEST:
        raise model.error("layers", f"at most {_DEEPEST} models inside one another", "more")
    layers = layers_of(model)
    order = list(layers) if model.kind == "Sequential" else _functional_order(model, layers)
    chain: list[Described] = []
    for name in order:
        layer = layers[name]
        chain += chain_of(layer, depth + 1) if layer.kind in MODELS else [layer]
        if len(chain) > MOST_LAYERS:
            raise model.error("layers", f"at most {MOST_LAYERS}", "more")
    return chain


def _functional_order(model: Described, layers: Mapping[str, Described]) -> list[str]:
    """Return the names of a chain's layers, the input first.

    Raises
    ------
    ValueError
        If the model has several inputs or outputs, a layer is used twice or reads several others,
        or a mask is not the one that a Masking or an Embedding makes.
    """
    calls = {str(entry.get("name")): entry for entry in model.config["layers"]}
    first, name = _end(model, "input_layers"), _end(model, "output_layers")
    order, masks = [name], []
    while name != first:
        if len(order) > len(layers):
            raise model.error("layers", "a chain", "a circle")
        layer = layers.get(name)
        if layer is None:
            raise model.error("layers", "every layer that another reads", f"none named {name!r}")
        name, mask = _reads(layer, calls.get(name, {}).get("inbound_nodes"))
        masks += [] if mask is None else [(layer, mask)]
        order.append(name)
    if first not in layers:
        raise model.error("input_layers", "a layer of the model", first)
    order.reverse()
    _check_rest(model, layers, order)
    for layer, mask in masks:
        _check_mask(model, layer, mask, calls, order)
    return order


def _end(model: Described, option: str) -> str:
    """Return the name of the one input or output layer."""
    found = model.config.get(option)
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]  # as older versions write it
    if (
        isinstance(found, list)
        and len(found) == 3
        and isinstance(found[0], str)
        and found[1:] == [0, 0]
    ):
        return found[0]
    raise model.error(option, "one layer", found)


def _reads(layer: Described, nodes: Any) -> tuple[str, Any]:
    """Return the name of the layer that a layer reads, and the mask that it is given."""
    if not isinstance(nodes, list) or len(nodes) != 1 or not isinstance(nodes[0], Mapping):
        calls = len(nodes) if isinstance(nodes, list) else 0
        raise layer.error("inbound_nodes", "one call", f"{calls} calls")
    arguments, options = nodes[0].get("args"), nodes[0].get("kwargs") or {}
    if not isinstance(arguments, list) or len(arguments) != 1 or not isinstance(options, Mapping):
        raise layer.error("inbound_nodes", "one input", arguments)
    for option, value in options.items():
        if option not in ("mask", "training") and value is not None:
            raise layer.error(option, "None in a call", value)
    return _history(layer, arguments[0]), options.get("mask")


def _history(layer: Described, tensor: Any) -> str:
    """Return the layer whose first output a tensor is."""
    config = tensor.get("config") if isinstance(tensor, Mapping) else None
    found = config.get("keras_history") if isinstance(config, Mapping) else None
    if isinstance(found, list) and len(found) == 3 and isinstance(found[0], str):
        if found[1:] == [0, 0]:
            return found[0]
        raise layer.error("inbound_nodes", "the first output of a layer", found)
    raise layer.error("inbound_nodes", "one input, the output of a layer", tensor)


def _check_rest(model: Described, layers: Mapping[str, Described], order: list[str]) -> None:
    """Raise ValueError for layers beside the chain, other than what makes masks."""
    chain = set(order)
    for name, layer in layers.items():
        if name not in chain and layer.kind not in _MASK_OPERATIONS:
            raise model.error("layers", "a chain of layers", f"{layer.kind} {name!r} beside it")


def _check_mask(
    model: Described, layer: Described, mask: Any, calls: Mapping[str, Any], order: list[str]
) -> None:
    """Raise ValueError unless a mask is what a Masking or Embedding of the chain makes.

    That is not_equal(x, value), and any of it over the features, of the x that this layer reads.
    """
    name, any_of = _history(layer, mask), False
    call = calls.get(name, {})
    if call.get("class_name") == "Any":
        any_of = True
        name = _history(layer, _arguments(layer, call)[0])
        call = calls.get(name, {})
    if call.get("class_name") != "NotEqual":
        raise layer.error("mask", "the mask of a Masking or an Embedding in the model", name)
    compared, *value = _arguments(layer, call)
    source = _history(layer, compared)
    maker = calls[order[order.index(source) + 1]] if source in order[:-1] else {}
    config = maker.get("config", {})
    if any_of:
        right = maker.get("class_name") == "Masking" and value == [config.get("mask_value")]
    else:
        right = maker.get("class_name") == "Embedding" and value == [0]
    if not right:
        raise layer.error("mask", "the mask of a Masking or an Embedding in the model", name)


def _arguments(layer: Described, call: Mapping[str, Any]) -> list[Any]:
    nodes = call.get("inbound_nodes")
    if isinstance(nodes, list) and len(nodes) == 1 and isinstance(nodes[0], Mapping):
        found = nodes[0].get("args")
        if isinstance(found, list) and found:
            return found
    raise layer.error("mask", "the mask of a Masking or an Embedding in the model", nodes)
