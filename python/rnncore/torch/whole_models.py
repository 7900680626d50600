"""Models of torch, of an embedding, recurrent layers and a head, as those of rnncore, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

import rnncore
from rnncore._checks import choice, users_level
from rnncore.layers import Recurrent
from rnncore.models import Model
from rnncore.module import Module
from rnncore.torch.layer_conversion import kind_of, layer_from_torch, layer_to_torch
from rnncore.torch.model_parts import Parts, find_parts
from rnncore.torch.task_module import POOLINGS, TASKS, TaskModule

_TASK_OF = {
    rnncore.ManyToOne: "many_to_one",
    rnncore.ManyToMany: "many_to_many",
    rnncore.LanguageModel: "language_model",
}


def is_whole_model(module: Module) -> bool:
    """Whether `model_to_torch` takes it."""
    return type(module) in _TASK_OF


def model_from_torch(
    model: nn.Module, paths: Mapping[str, str | None], task: Any, pooling: str, loss: Any
) -> Model:
    """Return the model of rnncore that computes the same; arguments as for `from_torch`."""
    choice("task", task, TASKS)
    if choice("pooling", pooling, POOLINGS) != "last" and task != "many_to_one":
        raise ValueError(f"pooling: expected 'last' with task {task!r}, got {pooling!r}")
    parts = find_parts(model, paths)
    layers = {name: _convert(name, part) for name, part in parts.present()}
    _check_fit(**layers)
    core, size = layers["core"], layers["head"].parameters["weight"].shape[0]
    assert isinstance(core, Recurrent)
    state = {
        f"{part}.{name}": array
        for part, layer in layers.items()
        for name, array in layer.parameters.items()
    }
    state.setdefault("head.bias", np.zeros(size, core.dtype))
    if task == "language_model":
        _check_language_model(parts, size, loss)
        tied = _is_tied(parts)
        if tied:
            del state["head.weight"]
        built: Model = rnncore.LanguageModel(core, size, tied=tied)
    else:
        options = {"embedding": layers.get("embedding")} | ({} if loss is None else {"loss": loss})
        if task == "many_to_one":
            built = rnncore.ManyToOne(core, size, pooling=pooling, **options)
        else:
            built = rnncore.ManyToMany(core, size, **options)
    built.load_state_dict(state)
    return built


def _convert(name: str, module: nn.Module) -> Module:
    """Return a part as a layer; a core with batch_first=True, which models need."""
    kind = kind_of(module)
    if kind is None:
        raise TypeError(
            f"{name}: expected the forward of torch.nn, got {type(module).__name__}, a subclass "
            "with a forward of its own"
        )
    if name != "core":
        return layer_from_torch(f"{name}.", module, kind)
    if not module.batch_first:
        warnings.warn(
            "core: batch_first=False in torch; the converted model reads (B, T, I), not (T, B, I)",
            stacklevel=users_level(),
        )
    return layer_from_torch("core.", module, kind, batch_first=True)


def _check_fit(core: Any, head: Any, embedding: Any = None) -> None:
    """Raise ValueError unless the parts have one dtype and the head reads the core's outputs."""
    for name, layer in (("embedding", embedding), ("head", head)):
        if layer is not None and layer.dtype != core.dtype:
            raise ValueError(f"{name}: expected the core's dtype {core.dtype}, got {layer.dtype}")
    if head.input_size != core.output_features:
        raise ValueError(
            f"head: expected in_features = {core.output_features}, the features of the core's "
            f"outputs, got {head.input_size}"
        )


def _check_language_model(parts: Parts, size: int, loss: Any) -> None:
    if loss is not None:
        raise ValueError(f"loss: expected None for a language model, got {loss!r}")
    if parts.embedding is None:
        raise ValueError("embedding: expected one for a language model, got None")
    V = parts.embedding.num_embeddings
    if size != V:
        raise ValueError(f"head: expected out_features = num_embeddings = {V}, got {size}")


def _is_tied(parts: Parts) -> bool:
    """Whether head and embedding share one table."""
    assert parts.embedding is not None
    return parts.head.weight is parts.embedding.weight


def model_to_torch(model: Module) -> TaskModule:
    """Return a model of rnncore as a module of torch; errors name the part."""
    task, parts = _TASK_OF[type(model)], model.children
    made: dict[str, Any] = {name: layer_to_torch(f"{name}.", part) for name, part in parts.items()}
    if isinstance(model, rnncore.LanguageModel):
        made["head"] = _head_of_language_model(model)
        if model.tied:
            made["head"].weight = made["embedding"].weight
    return TaskModule(**made, task=task, pooling=getattr(model, "pooling", "last"))


def _head_of_language_model(model: rnncore.LanguageModel) -> nn.Module:
    """Return the head as a module of its own: in a language model it is no child."""
    name = "embedding.weight" if model.tied else "head.weight"
    weight, bias = model.parameters[name], model.parameters["head.bias"]
    size, features = weight.shape
    head = rnncore.Linear(features, size, dtype=model.dtype, rng=0)
    head.load_state_dict({"weight": weight, "bias": bias})
    return layer_to_torch("head.", head)
