"""Recurrent layers of rnncore as plans of Keras' layers, one for each layer of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rnncore._types import Array
from rnncore.keras._activations import name_in_keras
from rnncore.keras._gates import to_keras_arrays
from rnncore.keras._recurrent import fill
from rnncore.layers import GRU, LSTM, RNN, Recurrent

_KINDS: tuple[tuple[type[Recurrent[Any]], str], ...] = (
    (RNN, "SimpleRNN"), (GRU, "GRU"), (LSTM, "LSTM"),
)  # fmt: skip
_REFUSED = {
    "proj_size": 0, "output_size": None, "learn_initial_state": False, "peephole": False,
    "coupled_gates": False, "weight_dropout": 0.0, "zoneout": 0.0, "clip": None,
    "batch_first": True,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Plan:
    """A layer of Keras.

    Attributes
    ----------
    kind : str
        Its class.
    options : mapping
        Arguments of its constructor; a Plan is a layer inside.
    arrays : list of numpy.ndarray
        Its weights, as `set_weights` takes them.
    fill : callable, or None
        Copies such weights into the rnncore module.
    """

    kind: str
    options: Mapping[str, Any]
    arrays: list[Array] = field(default_factory=list)
    fill: Callable[[Sequence[Array]], None] | None = None


def recurrent_plans(
    core: Recurrent[Any], first: Mapping[str, Any], *, zeros: bool, last: bool, merge_mode: str
) -> list[Plan]:
    """Return the plans of a stack, with a Dropout between layers where it has dropout.

    Parameters
    ----------
    core : RNN, GRU or LSTM
    first : mapping
        Options of the first layer alone.
    zeros : bool
        Whether steps that a mask skips give zeros.
    last : bool
        Whether the outputs are the last layer's ends.
    merge_mode : str
        Of the last layer's directions.
    """
    kind = next((name for cls, name in _KINDS if type(core) is cls), None)
    if kind is None:
        raise TypeError(f"model: expected an RNN, GRU or LSTM, got {type(core).__name__}")
    for name, usual in _REFUSED.items():
        if getattr(core, name, usual) != usual:
            raise ValueError(
                f"{type(core).__name__}: {name}: expected {usual!r}, since Keras has no other, got "
                f"{getattr(core, name)!r}"
            )
    shared: dict[str, Any] = {"units": core.hidden_size, "use_bias": core.bias}
    if kind == "GRU":
        shared["reset_after"] = getattr(core, "reset_after", True)
    chosen = _activations(core, kind)
    plans: list[Plan] = []
    for k in range(core.num_layers):
        steps = not (last and k == core.num_layers - 1)
        own = shared | {
            "return_sequences": steps, "recurrent_dropout": core.recurrent_dropout,
            "dropout": 0.0 if k else core.input_dropout,
        }  # fmt: skip
        if k == 0:
            own |= first
        elif core.dropout > 0:
            plans.append(Plan("Dropout", {"rate": core.dropout}))
        mode = merge_mode if k == core.num_layers - 1 else "concat"
        if zeros and steps and not core.bidirectional:
            own["zero_output_for_mask"] = True
        plans.append(_layer(core, kind, k, own, chosen, mode))
    return plans


def _layer(
    core: Recurrent[Any], kind: str, k: int, options: Mapping[str, Any],
    chosen: list[dict[str, str]], merge_mode: str,
) -> Plan:  # fmt: skip
    """Return the plan of one layer of a stack, in one direction or two."""
    suffixes = [f"_l{k}", f"_l{k}_reverse"][: len(chosen)]
    two_biases = options.get("reset_after", False)
    arrays: list[Array] = []
    for suffix in suffixes:
        names = ("weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * core.bias)
        ours = {name: core.parameters[name + suffix] for name in names}
        arrays += [array.copy() for array in to_keras_arrays(kind, ours, two_biases)]

    def fill_layer(given: Sequence[Array]) -> None:
        each = len(given) // len(suffixes)
        for i, suffix in enumerate(suffixes):
            fill(core.parameters, suffix, kind, given[i * each : (i + 1) * each])

    if len(chosen) == 1:
        return Plan(kind, {**options, **chosen[0]}, arrays, fill_layer)
    directions = {
        "layer": Plan(kind, {**options, **chosen[0]}),
        "backward_layer": Plan(kind, {**options, **chosen[1], "go_backwards": True}),
    }
    return Plan("Bidirectional", {**directions, "merge_mode": merge_mode}, arrays, fill_layer)


def _activations(core: Recurrent[Any], kind: str) -> list[dict[str, str]]:
    """Return the options that choose activations, for each direction; ValueError for others."""
    D = 2 if core.bidirectional else 1
    usual = {
        "SimpleRNN": ("tanh",),
        "GRU": ("sigmoid", "tanh"),
        "LSTM": ("sigmoid", "tanh", "tanh"),
    }
    option = "nonlinearity" if kind == "SimpleRNN" else "activations"
    given = getattr(core, option, None)
    if given is None:
        given = usual[kind]
    if isinstance(given, str) or (len(given) > 1 and not isinstance(given[1], (str, tuple))):
        given = (given,)
    each = len(usual[kind])
    given = tuple(given) * (D if len(given) == each else 1)
    found: list[dict[str, str]] = []
    for d in range(D):
        names = [name_in_keras(one) for one in given[d * each : (d + 1) * each]]
        if None in names or (kind == "LSTM" and names[1] != names[2]):
            raise ValueError(
                f"{type(core).__name__}: {option}: expected activations that Keras has, those of g "
                f"and h the same, got {given}"
            )
        options = {"activation": str(names[-1])}
        found.append(options | ({} if each == 1 else {"recurrent_activation": str(names[0])}))
    return found
