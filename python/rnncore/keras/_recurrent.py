"""SimpleRNN, GRU, LSTM and Bidirectional of Keras, made rnncore's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.keras._activations import of_cell
from rnncore.keras._arrays import check_arrays
from rnncore.keras._described import Described, described
from rnncore.keras._gates import BLOCKS, to_ours
from rnncore.layers import GRU, LSTM, RNN, Merging, Pooling, Recurrent, Reversal
from rnncore.module import Module

_MERGINGS = {"sum": "sum", "ave": "mean", "mul": "product"}
_SHARED = (
    "units", "use_bias", "reset_after", "dropout", "recurrent_dropout", "return_sequences",
    "return_state",
)  # fmt: skip


def recurrent_modules(layer: Described) -> list[Module]:
    """Return what a SimpleRNN, GRU or LSTM is: the layer, reading backwards or for its end."""
    core = _core(layer, [layer], layer.weights.arrays(layer.kind))
    modules: list[Module] = [core]
    if flag(layer, "go_backwards"):
        modules.insert(0, Reversal())
    if not flag(layer, "return_sequences"):
        modules.append(Pooling("last"))
    return modules


def bidirectional_modules(layer: Described) -> list[Module]:
    """Return what a Bidirectional is: the layer, for its ends, its directions merged."""
    parts = directions(layer)
    mode = layer.config.get("merge_mode")
    if mode not in (*_MERGINGS, "concat", None):
        raise layer.error("merge_mode", "'concat', 'sum', 'ave', 'mul' or None", mode)
    modules: list[Module] = [_core(layer, parts, layer.weights.arrays(layer.kind))]
    if not flag(parts[0], "return_sequences"):
        modules.append(Pooling("last"))
    if mode in _MERGINGS:
        modules.append(Merging(_MERGINGS[mode]))
    return modules


def directions(layer: Described) -> list[Described]:
    """Return the two layers of a Bidirectional; ValueError unless they make one of rnncore's."""
    name = f"Bidirectional {layer.name!r}"
    forward = described(layer.config.get("layer"), layer.weights, f"{name}: layer")
    if forward.kind not in BLOCKS:
        raise layer.error("layer", "a SimpleRNN, GRU or LSTM", forward.kind)
    given = layer.config.get("backward_layer")
    if given is None:  # as the forward one
        config = {**forward.config, "go_backwards": True}
        backward = Described(forward.kind, config, layer.weights)
    else:
        backward = described(given, layer.weights, f"{name}: backward_layer")
    if backward.kind != forward.kind:
        raise layer.error("backward_layer", f"a {forward.kind}, as the forward one", backward.kind)
    for option in _SHARED:
        if backward.config.get(option) != forward.config.get(option):
            expected = f"the forward layer's, {forward.config.get(option)!r}"
            raise backward.error(option, expected, backward.config.get(option))
    if flag(forward, "go_backwards") or not flag(backward, "go_backwards"):
        raise layer.error("layer", "go_backwards=False, and True of the backward layer", "another")
    return [forward, backward]


def _core(layer: Described, parts: Sequence[Described], arrays: list[Array]) -> Recurrent[Any]:
    """Return the layer of one direction or two, with its weights."""
    first, each = parts[0], len(arrays) // len(parts)
    options = _options(first)
    H, G = whole(first, "units"), len(BLOCKS[first.kind])
    biased = flag(first, "use_bias", usual=True)
    two_biases = first.kind == "GRU" and options.get("reset_after", True)
    rows = (2, G * H) if two_biases else (G * H,)
    check_arrays(layer, arrays, [(None, G * H), (H, G * H), *[rows] * biased] * len(parts))
    sizes = {kernel.shape[0] for kernel in arrays[:: max(each, 1)]}
    if len(sizes) > 1:
        raise layer.error("weights", "kernels of as many rows", sorted(sizes))
    chosen = _activations(parts)
    core: Recurrent[Any] = _CLASSES[first.kind](
        sizes.pop(), H, bias=biased, bidirectional=len(parts) == 2, dtype=arrays[0].dtype,
        init="torch", **options, **chosen,
    )  # fmt: skip
    for i, suffix in enumerate(("", "_reverse")[: len(parts)]):
        fill(core.parameters, f"_l0{suffix}", first.kind, arrays[i * each : (i + 1) * each])
    return core


_CLASSES: dict[str, Any] = {"SimpleRNN": RNN, "GRU": GRU, "LSTM": LSTM}


def fill(parameters: Mapping[str, Array], suffix: str, kind: str, arrays: Sequence[Array]) -> None:
    """Copy Keras' arrays into the parameters of a layer and direction."""
    for name, array in to_ours(kind, arrays).items():
        parameters[name + suffix][...] = array


def _options(layer: Described) -> dict[str, Any]:
    """Return the options that rnncore's layers have too; ValueError for those it has not."""
    if flag(layer, "stateful"):
        raise layer.error(
            "stateful",
            "False, since rnncore gives the state to its caller",
            layer.config["stateful"],
        )
    options: dict[str, Any] = {}
    for theirs, ours in (("dropout", "input_dropout"), ("recurrent_dropout", "recurrent_dropout")):
        rate = layer.config.get(theirs, 0.0)
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise layer.error(theirs, "a number in [0, 1)", rate)
        if rate:
            options[ours] = float(rate)
    if layer.kind == "GRU" and not flag(layer, "reset_after", usual=True):
        options["reset_after"] = False
    return options


def _activations(parts: Sequence[Described]) -> dict[str, Any]:
    """Return the option of the layer that chooses activations; none for the usual ones."""
    kind = parts[0].kind
    chosen: list[Any] = []
    for part in parts:
        g = of_cell(part, "activation")
        if kind == "SimpleRNN":
            chosen.append(g)
        else:
            chosen += [of_cell(part, "recurrent_activation"), g] + [g] * (kind == "LSTM")
    if kind == "SimpleRNN":
        one = chosen[0] if len(set(chosen)) == 1 else tuple(chosen)
        return {"nonlinearity": one}
    usual = ["sigmoid", "tanh"] + ["tanh"] * (kind == "LSTM")
    return {} if chosen == usual * len(parts) else {"activations": tuple(chosen)}


def flag(layer: Described, option: str, usual: bool = False) -> bool:
    """Return an option that is True or False."""
    value = layer.config.get(option, usual)
    if not isinstance(value, bool):
        raise layer.error(option, "True or False", value)
    return value


def whole(layer: Described, option: str) -> int:
    """Return an option that is a positive integer."""
    value = layer.config.get(option)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise layer.error(option, "a positive integer", value)
    return int(value)
