"""Layers and cells of torch.nn as those of rnncore, and back, bit for bit."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import rnncore
from rnncore._checks import what_came
from rnncore.module import Module


class Kind(NamedTuple):
    """One kind of layer here and there, and what carries over."""

    ours: Any  # a class of rnncore
    theirs: Any  # a class of torch.nn
    sizes: tuple[tuple[str, str], ...]  # names of ours and of theirs
    options: tuple[str, ...]  # the same names here and there

    @property
    def name(self) -> str:
        """Return what both call it."""
        return str(self.ours.__name__)


_SIZES = (("input_size", "input_size"), ("hidden_size", "hidden_size"))
_STACK = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
KINDS = (
    Kind(rnncore.RNN, nn.RNN, _SIZES, ("nonlinearity", *_STACK)),
    Kind(rnncore.GRU, nn.GRU, _SIZES, _STACK),
    Kind(rnncore.LSTM, nn.LSTM, _SIZES, (*_STACK, "proj_size")),
    Kind(rnncore.RNNCell, nn.RNNCell, _SIZES, ("nonlinearity", "bias")),
    Kind(rnncore.GRUCell, nn.GRUCell, _SIZES, ("bias",)),
    Kind(rnncore.LSTMCell, nn.LSTMCell, _SIZES, ("bias",)),
    Kind(
        rnncore.Linear,
        nn.Linear,
        (("input_size", "in_features"), ("output_size", "out_features")),
        ("bias",),
    ),
    Kind(
        rnncore.Embedding,
        nn.Embedding,
        (("num_embeddings", "num_embeddings"), ("embedding_dim", "embedding_dim")),
        (),
    ),
)
NAMES = ", ".join(kind.name for kind in KINDS[:-1]) + f" or {KINDS[-1].name}"

# Arguments of our constructors that only concern initial values, or that the parameters tell.
_NOT_CARRIED = ("rng", "init", "forget_bias", "dtype")
_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


def kind_of(module: nn.Module) -> Kind | None:
    """Return what kind of layer `module` is; None for any other, a forward of its own included."""
    for kind in KINDS:
        if isinstance(module, kind.theirs) and computes_as(module, kind.theirs):
            return kind
    return None


def computes_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module of a subclass runs the forward of torch's class, or ours in its place."""
    own = type(module)
    return own.forward is kind.forward or own.__module__.split(".")[:2] == ["rnncore", "torch"]


def layer_from_torch(name: str, module: nn.Module, kind: Kind, **changed: Any) -> Module:
    """Return a layer of rnncore with the weights of a module of this kind, and its options.

    But for those that are `changed`. Errors put `name` in front, "core." say, or nothing.
    """
    _refuse_lookups(name, module)
    state = {key: value.detach() for key, value in module.state_dict().items()}
    dtype = _dtype_of(name, state)
    sizes = [int(getattr(module, theirs)) for _, theirs in kind.sizes]
    options = {option: getattr(module, option) for option in kind.options} | changed
    if kind.theirs is nn.Linear:
        options["bias"] = options["bias"] is not None
    with warnings.catch_warnings():
        _silence_dropout()
        layer: Module = kind.ours(*sizes, dtype=dtype, init="torch", **options)
    if state.keys() != layer.parameters.keys():
        raise ValueError(
            f"{name or kind.name}: expected the parameters {list(layer.parameters)}, got "
            f"{list(state)}; remove parametrizations, weight_norm or pruning first"
        )
    layer.load_state_dict({key: value.cpu().numpy() for key, value in state.items()})
    return layer


def expect_torch_module(name: str, value: Any) -> None:
    """Raise TypeError for what is no module of torch; say what to do with weights and paths."""
    if isinstance(value, nn.Module):
        return
    text = f"{name}: expected a torch.nn.Module, got {what_came(value, 'torch')}"
    if isinstance(value, Mapping):
        text += "; weights alone say no options: build the module, load them there, and pass it"
    elif isinstance(value, (str, PathLike)):
        text += "; build the module, load_state_dict(torch.load(path)), and pass it"
    raise TypeError(text)


def has_counterpart(layer: Module) -> bool:
    """Whether torch.nn has a module for the class of a layer."""
    return any(each.ours is type(layer) for each in KINDS)


def layer_to_torch(name: str, layer: Module) -> nn.Module:
    """Return a module of torch.nn with the options and weights of a layer; errors as above."""
    kind = next((each for each in KINDS if each.ours is type(layer)), None)
    if kind is None:
        place = name.rstrip(".") or "module"
        raise TypeError(f"{place}: expected {NAMES}, got {type(layer).__name__}")
    _refuse_options(name, layer, kind)
    sizes = [getattr(layer, ours) for ours, _ in kind.sizes]
    options = {option: getattr(layer, option) for option in kind.options}
    with warnings.catch_warnings():
        _silence_dropout()
        options |= {"dtype": getattr(torch, layer.dtype.name), "device": "meta"}  # draws nothing
        module: nn.Module = kind.theirs(*sizes, **options).to_empty(device="cpu")
    module.load_state_dict({key: torch.from_numpy(v) for key, v in layer.parameters.items()})
    return module


def _silence_dropout() -> None:
    """Say nothing of dropout with one layer: who built the layer was told."""
    warnings.filterwarnings("ignore", "dropout", UserWarning)


def _dtype_of(name: str, state: dict[str, torch.Tensor]) -> Any:
    """Return numpy's dtype of all parameters; ValueError unless rnncore computes in it."""
    found = sorted({str(value.dtype) for value in state.values()})
    dtypes = {value.dtype for value in state.values()}
    if len(dtypes) != 1 or not dtypes <= _DTYPES.keys():
        raise ValueError(
            f"{name}dtype: expected parameters of torch.float32 or torch.float64, got "
            f"{', '.join(found)}; convert them with module.float()"
        )
    for key, value in state.items():
        if value.is_meta:
            raise ValueError(f"{name}{key}: expected numbers in memory, got a tensor on meta")
    return _DTYPES[dtypes.pop()]


def _refuse_lookups(name: str, module: nn.Module) -> None:
    """Raise ValueError for options of torch.nn.Embedding that change outputs or gradients."""
    if isinstance(module, nn.Embedding):
        for option, usual in (("max_norm", None), ("scale_grad_by_freq", False)):
            value = getattr(module, option)
            if value != usual:
                raise ValueError(
                    f"{name}{option}: expected {usual}, since rnncore.Embedding has no such "
                    f"option, got {value!r}"
                )


def _refuse_options(name: str, layer: Module, kind: Kind) -> None:
    """Raise ValueError for the first option of our layer that torch's module does not have."""
    function = getattr(layer, "nonlinearity", "tanh")
    if function not in ("tanh", "relu"):
        raise ValueError(
            f"{name}nonlinearity: expected 'tanh' or 'relu', since torch.nn.{kind.name} has no "
            f"other, got {function!r}"
        )
    carried = {*kind.options, *_NOT_CARRIED, *(ours for ours, _ in kind.sizes)}
    for option, parameter in inspect.signature(kind.ours).parameters.items():
        if option not in carried and getattr(layer, option) != parameter.default:
            raise ValueError(
                f"{name}{option}: expected {parameter.default!r}, since torch.nn.{kind.name} has "
                f"no such option, got {getattr(layer, option)!r}"
            )
