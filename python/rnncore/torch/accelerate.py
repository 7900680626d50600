"""accelerate and restore: the recurrent modules inside a torch model, moved to rnncore in place.

A module changes its class and nothing else, so whoever holds it, its parameters or its hooks (an
optimizer, a wrapper, another module) goes on with the same objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from rnncore.torch.layer_conversion import expect_torch_module
from rnncore.torch.modules import GRU, LSTM, RNN
from rnncore.torch.modules_cells import GRUCell, LSTMCell, RNNCell
from rnncore.torch.modules_run import without_bound

__all__ = ["Accelerated", "accelerate", "restore"]

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN,
    nn.GRU: GRU,
    nn.LSTM: LSTM,
    nn.RNNCell: RNNCell,
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}
_FOREIGN = {"scripted": "it runs compiled code", "quantized": "its weights are integers"}
_NAMES = frozenset(kind.__name__ for kind in _OURS)


class Accelerated(NamedTuple):
    """What `accelerate` found in a model, by the paths of `named_modules`; "" is the model itself.

    Attributes
    ----------
    swapped : dict of str to str
        Modules that run in rnncore now, also those swapped before: path and kind, such as
        {"encoder.lstm": "LSTM"}. A module under two names is there twice.
    left : dict of str to str
        Recurrent modules that stay torch's, and why.
    """

    swapped: dict[str, str]
    left: dict[str, str]


def accelerate(model: nn.Module) -> Accelerated:
    """Let every RNN, GRU, LSTM and cell inside a torch model run in rnncore's kernels, in place.

    The modules stay the same objects with the same parameters, buffers, hooks and mode; only their
    class becomes that of `rnncore.torch`. Optimizers, wrappers and checkpoints (``state_dict``)
    go on as they are, and results agree within rounding. What rnncore cannot do at a call, another
    device say, runs in torch's kernel. A model pickled as a whole needs rnncore to be read back,
    and ``torch.jit.script`` and ``torch.ao.quantization`` know torch's own classes alone: `restore`
    it first.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or one recurrent module. It may be accelerated already.

    Returns
    -------
    Accelerated
        Which modules run in rnncore, and which recurrent ones do not and why: subclasses, whose
        forward may be another; modules with a parametrization, weight_norm or pruning; scripted
        and quantized ones.

    Raises
    ------
    TypeError
        If `model` is no torch.nn.Module.
    """
    found = Accelerated({}, {})
    for path, module in _recurrent(model):
        reason = _reason_to_leave(module)
        if reason is None:
            kind = type(module)
            module.__class__ = _OURS.get(kind, kind)
            found.swapped[path] = type(module).__name__
        else:
            found.left[path] = reason
    return found


def restore(model: nn.Module) -> dict[str, str]:
    """Undo `accelerate`: let the modules inside a model run in torch's own kernels, in place.

    Modules that were built as those of `rnncore.torch` become torch's, too.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    dict of str to str
        The modules that changed: path and kind.

    Raises
    ------
    TypeError
        If `model` is no torch.nn.Module.
    """
    found = {path: module for path, module in _recurrent(model) if type(module) in _THEIRS}
    changed = {path: type(module).__name__ for path, module in found.items()}
    for module in found.values():
        for name in vars(module).keys() - without_bound(vars(module)).keys():
            delattr(module, name)
        module.__class__ = _THEIRS.get(type(module), type(module))
    return changed


def _recurrent(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what is recurrent in a model, or is called so, under each of its paths."""
    expect_torch_module("model", model)
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, tuple(_OURS)) or _foreign_kind(module) is not None:
            yield path, module


def _foreign_kind(module: nn.Module) -> str | None:
    """Return what kind of scripted or quantized recurrent module it is; None for any other."""
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted" if module.original_name in _NAMES else None
    quantized = type(module).__module__.startswith("torch.ao.nn.quant")
    return "quantized" if quantized and type(module).__name__ in _NAMES else None


def _reason_to_leave(module: nn.Module) -> str | None:
    """Return why a recurrent module must stay as it is, or None."""
    kind = type(module)
    foreign = _foreign_kind(module)
    if foreign is not None:
        return f"{foreign}: {_FOREIGN[foreign]}"
    if parametrize.is_parametrized(module):
        return "parametrized: its weights are computed anew at every use"
    if kind not in _OURS and kind not in _THEIRS:
        return f"{kind.__name__} is a subclass, whose forward may be another"
    if "forward" in vars(module):
        return "its forward was replaced"
    for name in _weight_names(module):
        if not isinstance(getattr(module, name, None), nn.Parameter):
            return f"{name} is no Parameter (weight_norm, pruning, or a wrapper that sets it)"
    return None


def _weight_names(module: Any) -> list[str]:
    """Return the names of the weights that torch's forward reads."""
    names = ["weight_ih", "weight_hh"] + (["bias_ih", "bias_hh"] if module.bias else [])
    if isinstance(module, nn.RNNCellBase):
        return names
    names += ["weight_hr"] if module.proj_size else []
    ends = ("", "_reverse") if module.bidirectional else ("",)
    layers = range(module.num_layers)
    return [f"{name}_l{layer}{end}" for layer in layers for end in ends for name in names]
