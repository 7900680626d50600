"""Plans: which layers of Keras an rnncore model is, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnncore._checks import what_came
from rnncore._types import Array
from rnncore.keras._activations import name_in_keras
from rnncore.keras._stacks import Plan, recurrent_plans
from rnncore.layers import Activation, Linear, Masking, Merging, Pooling, Recurrent, Reversal
from rnncore.layers.embedding import Embedding
from rnncore.models import ManyToMany, ManyToOne, Sequential
from rnncore.module import Module

_MERGE_MODES = {"sum": "sum", "mean": "ave", "product": "mul"}


def plans_of(model: Any) -> list[Plan]:
    """Return the layers of Keras that a layer or model is, in order.

    Raises
    ------
    TypeError
        If it is no layer, `Sequential`, `ManyToOne` or `ManyToMany`.
    ValueError
        If Keras has nothing that computes the same; the message names it.
    """
    modules = _in_order(model)
    plans: list[Plan] = []
    i = 0
    while i < len(modules):
        made, taken = _plans_at(modules, i)
        plans += made
        i += taken
    return plans


def _in_order(model: Any) -> list[Module]:
    if isinstance(model, Sequential):
        return list(model.layers)
    if isinstance(model, (ManyToOne, ManyToMany)):
        pooling = Pooling(model.pooling) if isinstance(model, ManyToOne) else None
        parts = (model.embedding, model.core, pooling, model.head)
        return [part for part in parts if part is not None]
    if isinstance(model, (Recurrent, Linear, Embedding, Activation)):
        return [model]
    raise TypeError(
        "model: expected an RNN, GRU, LSTM, Linear, Embedding, Activation, Sequential, ManyToOne "
        f"or ManyToMany, got {what_came(model)}"
    )


def _plans_at(modules: Sequence[Module], i: int) -> tuple[list[Plan], int]:
    """Return the plans of the module at a place, and how many modules they stand for."""
    module, behind = modules[i], modules[i + 1] if i + 1 < len(modules) else None
    masking = modules[0] if isinstance(modules[0], Masking) else None
    if isinstance(module, Masking):
        if not isinstance(behind, Embedding):
            return [Plan("Masking", {"mask_value": module.value})], 1
        if module.value != 0:
            raise ValueError(f"{module!r}: expected value = 0 in front of an Embedding")
        return [_embedding(behind, mask_zero=True)], 2
    if isinstance(module, Embedding):
        return [_embedding(module, mask_zero=False)], 1
    if isinstance(module, Reversal):
        if not isinstance(behind, Recurrent) or behind.bidirectional:
            raise ValueError(f"{module!r}: expected a recurrent layer of one direction behind it")
        made, taken = _stack(behind, modules[i + 2 :], masking, go_backwards=True)
        return made, taken + 1
    if isinstance(module, Recurrent):
        return _stack(module, modules[i + 1 :], masking, go_backwards=False)
    if isinstance(module, Linear):
        return [_dense(module)], 1
    if isinstance(module, Activation):
        return [_activation(module)], 1
    if isinstance(module, Pooling) and module.kind != "last":
        return [_pooling(module, masking)], 1
    if isinstance(module, Pooling):
        raise ValueError(f"{module!r}: expected it right behind a recurrent layer")
    raise ValueError(f"{module!r}: expected it behind a bidirectional layer, or behind its ends")


def _stack(
    core: Recurrent[Any], behind: Sequence[Module], masking: Masking | None, *, go_backwards: bool
) -> tuple[list[Plan], int]:
    """Return the plans of recurrent layers, with a pooling and a merging behind them."""
    taken, last, merge_mode = 1, False, "concat"
    rest = list(behind)
    if rest and isinstance(rest[0], Pooling) and rest[0].kind == "last":
        last = True
        rest.pop(0)
        taken += 1
    if rest and isinstance(rest[0], Merging) and core.bidirectional:
        merge_mode = _MERGE_MODES[rest[0].mode]
        taken += 1
    zeros = masking is not None and masking.skipped == "zeros"
    options = {"go_backwards": True} if go_backwards else {}
    plans = recurrent_plans(core, options, zeros=zeros, last=last, merge_mode=merge_mode)
    return plans, taken


def _embedding(module: Embedding, mask_zero: bool) -> Plan:
    options = {
        "input_dim": module.num_embeddings, "output_dim": module.embedding_dim,
        "mask_zero": mask_zero,
    }  # fmt: skip
    weight = module.parameters["weight"]

    def fill(arrays: Sequence[Array]) -> None:
        weight[...] = arrays[0]

    return Plan("Embedding", options, [weight.copy()], fill)


def _dense(module: Linear) -> Plan:
    options = {"units": module.output_size, "use_bias": module.bias}
    weight, bias = module.parameters["weight"], module.parameters.get("bias")

    def fill(arrays: Sequence[Array]) -> None:
        weight[...] = arrays[0].T
        if bias is not None:
            bias[...] = arrays[1]

    arrays = [weight.T.copy(), *([] if bias is None else [bias.copy()])]
    return Plan("Dense", options, arrays, fill)


def _activation(module: Activation) -> Plan:
    name = name_in_keras((module.name, module.alpha, module.beta))
    if name is not None:
        return Plan("Activation", {"activation": name})
    if module.name == "leaky_relu":
        return Plan("LeakyReLU", {"negative_slope": module.alpha})
    if module.name == "elu":
        return Plan("ELU", {"alpha": module.alpha})
    raise ValueError(f"{module!r}: expected an activation that Keras has")


def _pooling(module: Pooling, masking: Masking | None) -> Plan:
    if module.kind == "mean":
        return Plan("GlobalAveragePooling1D", {})
    if masking is not None:
        raise ValueError(f"{module!r}: expected no Masking in front, which Keras would not read")
    return Plan("GlobalMaxPooling1D", {})
