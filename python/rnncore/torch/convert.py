"""from_torch and to_torch: layers and models of one library as those of the other."""

from __future__ import annotations

from typing import Any

from torch import nn

from rnncore._checks import expect_none, what_came
from rnncore.module import Module
from rnncore.torch.layer_conversion import (
    KINDS,
    NAMES,
    expect_torch_module,
    has_counterpart,
    kind_of,
    layer_from_torch,
    layer_to_torch,
)
from rnncore.torch.task_module import TaskModule
from rnncore.torch.whole_models import is_whole_model, model_from_torch, model_to_torch

__all__ = ["from_torch", "to_torch"]


def from_torch(
    module: nn.Module,
    *,
    task: str | None = None,
    embedding: str | None = None,
    core: str | None = None,
    head: str | None = None,
    pooling: str = "last",
    loss: Any = None,
) -> Any:
    """Return a layer or model of rnncore with the weights of a torch module: to run without torch.

    Parameters
    ----------
    module : torch.nn.Module
        RNN, GRU, LSTM, one of their cells, Linear or Embedding (also those of `rnncore.torch`): a
        layer with the same options, `batch_first` as the module has it. Or a whole model of an
        embedding (or none), recurrent layers and a linear head, with `task`: a Sequential, whose
        parts are found by their types; any other, whose parts you name; or a `TaskModule`, which
        knows its task. The module's `forward` is not read: compare the outputs once.
    task : {"many_to_one", "many_to_many", "language_model"}, optional
        What the model is to be: `rnncore.ManyToOne`, `ManyToMany` or `LanguageModel`.
    embedding, core, head : str, optional
        Paths of the parts, as in ``model.get_submodule``; ``"encoder.lstm"``, say. A Sequential of
        a layer and Dropout counts as the layer.
    pooling : {"last", "mean", "max"}
        For "many_to_one": what the head sees. "last" is h_n, of a bidirectional core
        ``torch.cat((h_n[-2], h_n[-1]), 1)``, and not ``y[:, -1]``, whose second half is the
        backward direction after one step.
    loss : str, Loss or callable, optional
        What `fit` of the new model minimises; not for a language model.

    Returns
    -------
    Module
        It shares no memory with `module`. Its state_dict, and that of `to_torch` of it, are bit for
        bit those of the module; a head without bias gets one of zeros in a model.

    Raises
    ------
    TypeError
        If the module, or a part, is of a type that rnncore has no layer for.
    ValueError
        If an option has no counterpart, a dtype is neither float32 nor float64, a weight is no
        parameter (weight_norm, pruning, parametrizations), or a model holds more than its parts:
        the message names it.

    Warns
    -----
    UserWarning
        If a model's core has batch_first=False. Models of rnncore read (B, T, I), or tokens
        (B, T), whatever the torch model read: transpose what is (T, B, I).

    Notes
    -----
    What acts in training alone is carried over where the layer has it (dropout between layers) and
    left out otherwise: Dropout modules, ``padding_idx`` (its row is copied as it is), hooks, and
    whether a parameter is frozen. A module of your own without numbers in it is taken for what
    picks the head's input out of the core's outputs; `task` and `pooling` say how.
    """
    expect_torch_module("module", module)
    kind = kind_of(module)
    if kind is not None:
        reason = f"for a single {kind.name}"
        expect_none(reason, task=task, embedding=embedding, core=core, head=head, loss=loss)
        return layer_from_torch("", module, kind)
    if isinstance(module, TaskModule):
        reason = "for a TaskModule, which has them"
        expect_none(reason, task=task, embedding=embedding, core=core, head=head)
        task, pooling = module.task, module.pooling
    elif task is None:
        raise TypeError(
            f"module: expected a torch.nn {NAMES}, or a whole model with task=, got "
            f"{_class_of(module)}"
        )
    paths = {"embedding": embedding, "core": core, "head": head}
    return model_from_torch(module, paths, task, pooling, loss)


def _class_of(module: nn.Module) -> str:
    """Return the name of a module's class; of one that is called as torch's are, its place too."""
    kind = type(module)
    called = any(kind.__name__ == each.name for each in KINDS)
    return f"{kind.__name__} of {kind.__module__}" if called else kind.__name__


def to_torch(module: Module) -> nn.Module:
    """Return a torch module with the weights of a layer or model of rnncore.

    Parameters
    ----------
    module : RNN, GRU, LSTM, a cell, Linear or Embedding; ManyToOne, ManyToMany or LanguageModel
        A layer becomes the module of torch.nn of the same name and options; a model becomes a
        `TaskModule`, whose forward gives what `predict` does.

    Returns
    -------
    torch.nn.Module
        In training mode, as any new module of torch. It shares no memory with `module`; its
        state_dict has the same names and bits. No random number is drawn.

    Raises
    ------
    TypeError
        If torch has no module for its class.
    ValueError
        If an option has no counterpart in torch.nn; the message names it.
    """
    if not isinstance(module, Module):
        raise TypeError(f"module: expected a layer or model of rnncore, got {what_came(module)}")
    if is_whole_model(module):
        return model_to_torch(module)
    if not has_counterpart(module):
        raise TypeError(
            f"module: expected {NAMES}, or ManyToOne, ManyToMany or LanguageModel, got "
            f"{type(module).__name__}"
        )
    return layer_to_torch("", module)
